"""The Q-Former's heads against transformers' own, and what may see what."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lakesight.models.blip2.pretraining import Blip2ForPretraining, causal_mask
from tests.lakesight.models.blip2.small import small_config

hf: Any = transformers


@pytest.fixture(scope="module")
def config() -> Any:
    return small_config()


@pytest.fixture(scope="module")
def model(config: Any) -> Blip2ForPretraining:
    torch.manual_seed(0)
    return Blip2ForPretraining.new(config).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(2)
    ids = torch.randint(4, 40, (3, 6), generator=rng)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 5 + [0]])
    return {"pixels": torch.randn(3, 3, 32, 32, generator=rng), "ids": ids * mask, "mask": mask}


@torch.no_grad()
def test_scores_are_those_of_transformers(
    model: Blip2ForPretraining, batch: dict[str, torch.Tensor]
) -> None:
    def asked(*, matching: bool) -> Any:
        return model.retrieval(
            pixel_values=batch["pixels"],
            input_ids=batch["ids"],
            attention_mask=batch["mask"],
            use_image_text_matching_head=matching,
        )

    seen = model.see(batch["pixels"])
    images = model.image_vectors(model.query(seen))
    texts = model.text_vectors(batch["ids"], batch["mask"])
    cosines = torch.einsum("bqe,te->btq", images, texts).amax(-1)
    torch.testing.assert_close(cosines, asked(matching=False).logits_per_image)
    matched = model.match(seen, batch["ids"], batch["mask"])
    torch.testing.assert_close(matched, asked(matching=True).logits_per_image)


@torch.no_grad()
def test_a_written_word_depends_on_no_later_one(
    model: Blip2ForPretraining, batch: dict[str, torch.Tensor]
) -> None:
    seen = model.see(batch["pixels"])
    queries, before = model.write(seen, batch["ids"], batch["mask"])
    changed = batch["ids"].clone()
    changed[:, 3] = (changed[:, 3] + 1) % 36 + 4
    queries_after, after = model.write(seen, changed, batch["mask"])
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=0)
    assert (before[:, 3:] - after[:, 3:]).abs().amax(dim=(1, 2)).min() > 1e-3
    torch.testing.assert_close(queries, queries_after, rtol=0, atol=0)
    torch.testing.assert_close(queries, model.query(seen))


def test_the_mask_is_causal_for_text_and_open_for_queries() -> None:
    allowed = causal_mask(2, torch.tensor([[1, 1, 0]]))[0, 0].int().tolist()
    assert allowed == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]


def test_queries_begin_apart(model: Blip2ForPretraining) -> None:
    states = model.query(model.see(torch.zeros(1, 3, 32, 32)))[0]
    assert torch.cdist(states, states).fill_diagonal_(1).min() > 1e-3


def test_what_is_saved_is_a_checkpoint_of_transformers(
    model: Blip2ForPretraining, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model.save(tmp_path)
    again = Blip2ForPretraining.load(tmp_path).eval()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    bare = hf.Blip2ForImageTextRetrieval.from_pretrained(tmp_path)
    assert torch.equal(bare.query_tokens, model.retrieval.query_tokens)


def test_a_q_former_that_cannot_read_is_refused(config: Any) -> None:
    deaf = hf.Blip2Config(**config.to_dict())
    deaf.qformer_config.use_qformer_text_input = False
    with pytest.raises(ValueError, match="use_qformer_text_input"):
        Blip2ForPretraining.new(deaf)
