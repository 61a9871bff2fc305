"""The sampler: what it draws, from which nucleus, and how it scores."""

import pytest
import torch

from lakesight.models.sampling import RowSampler

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 3.0])


def drawn(sampler: RowSampler, logits: torch.Tensor) -> torch.Tensor:
    """The one token that the sampler leaves to each row."""
    allowed = sampler(torch.zeros(len(logits), 1, dtype=torch.long), logits).isfinite()
    assert (allowed.sum(dim=1) == 1).all()
    return allowed.int().argmax(dim=1)


@pytest.mark.parametrize(("top_p", "temperature"), [(1.0, 1.0), (0.9, 1.0), (0.9, 2.0)])
def test_tokens_come_as_often_as_the_nucleus_says(top_p: float, temperature: float) -> None:
    count = 20_000
    sampler = RowSampler(range(count), top_p=top_p, temperature=temperature, stop_ids=())
    counts = drawn(sampler, LOGITS.expand(count, -1)).bincount(minlength=5)
    probabilities, order = (LOGITS / temperature).softmax(0).sort(descending=True)
    before = probabilities.cumsum(0) - probabilities
    probabilities[before >= top_p] = 0  # the paper's nucleus: the smallest set that reaches p
    wanted = torch.zeros(5).scatter(0, order, probabilities / probabilities.sum())
    # 4 standard deviations of a share: at most 4 * 0.5 / sqrt(20,000)
    torch.testing.assert_close(counts / count, wanted, atol=0.0142, rtol=0)
    assert (counts[wanted == 0] == 0).all()


def test_a_row_draws_by_its_own_seed_only() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = RowSampler([5, 6, 7], top_p=1.0, temperature=1.0, stop_ids=())
    alone = RowSampler([6], top_p=1.0, temperature=1.0, stop_ids=())
    for _ in range(20):
        assert drawn(together, logits)[1] == drawn(alone, logits[1:2])[0]


def test_the_score_ends_with_the_stop_token_and_ignores_the_nucleus() -> None:
    only = torch.full((1, 5), -20.0)
    sampler = RowSampler([0], top_p=0.9, temperature=0.5, stop_ids=(3,))
    wanted = 0.0
    for token in (1, 2, 3, 4):  # what comes after the stop token is padding
        logits = only.clone()
        logits[0, token] = 0.0
        assert drawn(sampler, logits).tolist() == [token]
        wanted += 0.0 if token == 4 else logits.log_softmax(-1)[0, token].item()
    assert sampler.lengths.tolist() == [3]
    assert sampler.log_probability.tolist() == pytest.approx([wanted])
