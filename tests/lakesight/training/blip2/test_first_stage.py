"""The losses of BLIP-2's first stage, held against loops that do one pair at a time."""

import math
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.functional import log_softmax

from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.training.blip2.first_stage import FirstStageWeights, Pairs, first_stage_losses
from lakesight.training.blip2.losses import NONE, contrastive_loss, hard_negatives
from tests.lakesight.models.blip2.small import NUM_WORDS, small_config

hf: Any = transformers
SMOOTHING = 0.1
START = 3


@pytest.fixture(scope="module")
def model() -> Blip2ForPretraining:
    torch.manual_seed(0)
    return Blip2ForPretraining.new(small_config()).eval()


@pytest.fixture(scope="module")
def pairs(model: Blip2ForPretraining) -> Pairs:
    """Five pictures; the texts differ in length, and two of them are equal."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        seen = model.see(torch.randn(5, 3, 32, 32, generator=rng))
    ids = torch.randint(4, NUM_WORDS, (5, 7), generator=rng)
    ids[:, 0] = 1
    ids[4] = ids[1]
    lengths = torch.tensor([7, 4, 5, 7, 4])
    mask = (torch.arange(7)[None] < lengths[:, None]).long()
    return Pairs(seen, ids * mask, mask, torch.tensor([0, 1, 2, 3, 1]), START)


def smoothed(logits: Tensor, wanted: Tensor) -> float:
    """Cross entropy of one row, its labels smoothed over all classes."""
    target = (1 - SMOOTHING) * wanted + SMOOTHING / len(wanted)
    return -float((target * log_softmax(logits, dim=0)).sum())


def only(weights: dict[str, float]) -> FirstStageWeights:
    return FirstStageWeights(**{"contrast": 0.0, "match": 0.0, "write": 0.0, **weights})


@torch.no_grad()
def test_contrast_is_what_a_loop_over_pairs_gives(model: Blip2ForPretraining, pairs: Pairs) -> None:
    cosines = torch.zeros(5, 5)
    for picture in range(5):
        for text in range(5):
            vectors = model.image_vectors(model.query(pairs.seen[picture : picture + 1]))[0]
            length = int(pairs.mask[text].sum())
            ids = pairs.ids[text : text + 1, :length]
            words = model.text_vectors(ids, torch.ones_like(ids))[0]
            cosines[picture, text] = max(float(query @ words) for query in vectors)
    losses = []
    for number in range(5):
        wanted = torch.tensor([float(one == pairs.texts[number]) for one in pairs.texts])
        wanted /= wanted.sum()
        losses.append(smoothed(cosines[number] / model.temperature, wanted))
        losses.append(smoothed(cosines[:, number] / model.temperature, wanted))
    found = first_stage_losses(model, pairs, only({"contrast": 2.0}))
    assert list(found) == ["contrast"]
    assert float(found["contrast"]) == pytest.approx(2 * sum(losses) / 10, abs=1e-5)


@torch.no_grad()
def test_writing_is_what_one_token_at_a_time_gives(
    model: Blip2ForPretraining, pairs: Pairs
) -> None:
    total, count = 0.0, 0
    for number in range(5):
        length = int(pairs.mask[number].sum())
        ids = pairs.ids[number : number + 1, :length].clone()
        ids[:, 0] = START
        for end in range(1, length):
            # only what was written so far goes in
            known = ids[:, :end]
            seen = pairs.seen[number : number + 1]
            _, logits = model.write(seen, known, torch.ones_like(known))
            wanted = torch.zeros(NUM_WORDS)
            wanted[ids[0, end]] = 1
            total += smoothed(logits[0, -1], wanted)
            count += 1
    found = first_stage_losses(model, pairs, only({"write": 1.0}))["write"]
    assert float(found) == pytest.approx(total / count, abs=1e-4)


@torch.no_grad()
def test_matching_holds_every_pair_against_two_wrong_ones(
    model: Blip2ForPretraining, pairs: Pairs
) -> None:
    generator = torch.Generator().manual_seed(5)
    found = first_stage_losses(model, pairs, only({"match": 1.0}), generator)["match"]
    # the same numbers drawn again, in the same order
    generator.manual_seed(5)
    images = model.image_vectors(model.query(pairs.seen))
    texts = model.text_vectors(pairs.ids, pairs.mask)
    cosines = torch.einsum("bqe,te->btq", images, texts).amax(-1)
    same = pairs.texts[:, None] == pairs.texts[None]
    of_images = hard_negatives(cosines, model.temperature, same, generator)
    of_texts = hard_negatives(cosines.T, model.temperature, same, generator)
    cases = [(number, number, 1) for number in range(5)]
    cases += [(number, int(of_images[number]), 0) for number in range(5)]
    cases += [(int(of_texts[number]), number, 0) for number in range(5)]
    total = 0.0
    for picture, text, wanted in cases:
        length = int(pairs.mask[text].sum())
        ids = pairs.ids[text : text + 1, :length]
        logits = model.match(pairs.seen[picture : picture + 1], ids, torch.ones_like(ids))[0]
        total -= float(log_softmax(logits, dim=0)[wanted])
    assert float(found) == pytest.approx(total / 15, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["contrast", "write"])
def test_a_loss_is_the_same_without_the_others(
    name: str, model: Blip2ForPretraining, pairs: Pairs
) -> None:
    """What only the others need is not computed then."""
    together = first_stage_losses(model, pairs, FirstStageWeights())
    alone = first_stage_losses(model, pairs, only({name: 1.0}))
    assert list(alone) == [name]
    torch.testing.assert_close(alone[name], together[name])


def test_negatives_are_hard_and_never_true() -> None:
    cosines = torch.tensor([[0.9, 0.8, 0.1, 0.8]]).repeat(4000, 1)
    same = torch.tensor([[True, False, False, True]]).repeat(4000, 1)
    drawn = hard_negatives(cosines, torch.tensor(0.1), same, torch.Generator().manual_seed(0))
    # by the softmax: exp(7) times likelier
    share = math.exp(8) / (math.exp(8) + math.exp(1))
    assert set(drawn.tolist()) <= {1, 2}
    assert float((drawn == 1).float().mean()) == pytest.approx(share, abs=0.01)
    nothing_else = torch.ones(1, 4, dtype=torch.bool)
    assert int(hard_negatives(cosines[:1], torch.tensor(0.1), nothing_else)) == NONE


@torch.no_grad()
def test_where_nothing_is_wrong_what_is_right_alone_is_matched(
    model: Blip2ForPretraining, pairs: Pairs
) -> None:
    alike = pairs._replace(texts=torch.zeros(5, dtype=torch.long))
    found = first_stage_losses(model, alike, only({"match": 1.0}))["match"]
    logits = model.match(pairs.seen, pairs.ids, pairs.mask)
    expected = -log_softmax(logits, dim=1)[:, 1].mean()
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_a_temperature_out_of_bounds_comes_back_and_learns(pairs: Pairs) -> None:
    torch.manual_seed(0)
    model = Blip2ForPretraining.new(small_config())
    for start, bound in ((3.0, 0.5), (1e-6, 0.001)):
        model.log_temperature.data.fill_(math.log(start))
        loss = first_stage_losses(model, pairs, only({"contrast": 1.0}))["contrast"]
        loss.backward()  # type: ignore[no-untyped-call]
        assert model.temperature.item() == pytest.approx(bound)
        assert model.log_temperature.grad
        model.zero_grad()


def test_contrast_is_exact_where_all_else_is_bfloat16(
    model: Blip2ForPretraining, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a temperature of 0.01 cosines of 8 bits would be logits in steps of a half."""
    kinds: list[torch.dtype] = []

    def watched(found: Any, temperature: Tensor, same: Tensor) -> Tensor:
        kinds.extend(cosines.dtype for cosines in found)
        return contrastive_loss(found, temperature, same)

    monkeypatch.setattr("lakesight.training.blip2.first_stage.contrastive_loss", watched)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        first_stage_losses(model, pairs, only({"contrast": 1.0}))
    assert kinds == [torch.float32, torch.float32]


def test_only_the_q_former_learns(pairs: Pairs) -> None:
    torch.manual_seed(0)
    model = Blip2ForPretraining.new(small_config())
    model.freeze_vision()
    model.train()
    assert not model.retrieval.vision_model.training
    fresh = pairs._replace(seen=model.see(torch.randn(5, 3, 32, 32)))
    losses = first_stage_losses(model, fresh, FirstStageWeights())
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    touched = {name: weight.grad is not None for name, weight in model.named_parameters()}
    frozen = {name for name in touched if name.startswith("retrieval.vision_model.")}
    assert frozen
    assert not any(touched[name] for name in frozen)
    missed = [name for name in touched if name not in frozen and not touched[name]]
    assert missed == []
    moved = [name for name, weight in model.named_parameters() if weight.grad is not None]
    still = [name for name in moved if not model.get_parameter(name).grad.abs().max()]  # type: ignore[union-attr]
    # a key's bias moves no softmax
    assert all(name.endswith("key.bias") for name in still)
