"""Two processes compute of BLIP-2's first stage what one does of the whole batch: real gloo."""

import multiprocessing
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed
from torch import Tensor

from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.training.blip2.first_stage import FirstStageWeights, Pairs, first_stage_losses
from lakesight.training.blip2.recipe import drawn_by
from tests.lakesight.models.blip2.small import NUM_WORDS, small_config

NUM = 6
"""Pairs of the whole batch; of two processes each has a half."""
STEP = 7
Gradients = dict[str, Tensor]


class Found(NamedTuple):
    """The losses of some pairs, and the gradients of their sum by weight."""

    losses: dict[str, float]
    gradients: Gradients


class Told(NamedTuple):
    """What one process computes."""

    apart_and_written: Found
    matched: Found
    drawn: Tensor
    """By the step's random numbers."""


def found(rows: list[int], weights: FirstStageWeights) -> Found:
    """Compute the losses of some of the pairs: of different lengths, and two texts are equal."""
    torch.manual_seed(0)
    model = Blip2ForPretraining.new(small_config()).eval()
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(NUM, 3, 32, 32, generator=rng)
    ids = torch.randint(4, NUM_WORDS, (NUM, 7), generator=rng)
    ids[:, 0] = 1
    ids[4] = ids[1]
    mask = (torch.arange(7)[None] < torch.tensor([7, 6, 7, 3, 6, 2])[:, None]).long()
    texts = torch.tensor([0, 1, 2, 3, 1, 5])
    seen = model.see(pixels[rows])
    pairs = Pairs(seen, (ids * mask)[rows], mask[rows], texts[rows], start_id=3)
    losses = first_stage_losses(model, pairs, weights)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }
    return Found({name: float(one.detach()) for name, one in losses.items()}, gradients)


APART = FirstStageWeights(match=0)
MATCH = FirstStageWeights(contrast=0, write=0)


def process(number: int, tmp: Path) -> Told:
    """Be one of two processes: with three pairs, then with one, which has one wrong partner."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp}/meet", rank=number, world_size=2
    )
    try:
        own = list(range(NUM))[number * 3 : number * 3 + 3]
        apart, matched = found(own, APART), found(own[:1], MATCH)
        with drawn_by(0, STEP, torch.device("cpu")):
            return Told(apart, matched, torch.rand(4))
    finally:
        torch.distributed.destroy_process_group()


def second(tmp: Path) -> None:
    told = process(1, tmp)
    torch.save([*told.apart_and_written, *told.matched, told.drawn], tmp / "second.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Told]:
    tmp = tmp_path_factory.mktemp("processes")
    other = multiprocessing.get_context("spawn").Process(target=second, args=(tmp,))
    other.start()
    first = process(0, tmp)
    other.join()
    losses, gradients, more_losses, more_gradients, drawn = torch.load(tmp / "second.pt")
    return first, Told(Found(losses, gradients), Found(more_losses, more_gradients), drawn)


def check_mean(parts: list[Found], whole: Found) -> None:
    assert all(set(one.losses) == set(whole.losses) for one in parts)
    for name, expected in whole.losses.items():
        mean = sum(one.losses[name] for one in parts) / 2
        assert mean == pytest.approx(expected, abs=1e-5), name
    assert any(part.losses != pytest.approx(whole.losses, abs=1e-3) for part in parts)
    for name, gradient in whole.gradients.items():
        shared = sum(one.gradients[name] for one in parts) / 2
        torch.testing.assert_close(shared, gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_contrast_and_writing_are_those_of_the_whole_batch(both: tuple[Told, Told]) -> None:
    whole = found(list(range(NUM)), APART)
    assert set(whole.losses) == {"contrast", "write"}
    check_mean([one.apart_and_written for one in both], whole)


def test_matching_is_that_of_the_whole_batch(both: tuple[Told, Told]) -> None:
    """Of two pairs, as the negatives of more are drawn: then each has one that could be drawn."""
    whole = found([0, 3], MATCH)
    assert set(whole.losses) == {"match"}
    check_mean([one.matched for one in both], whole)


def test_each_process_draws_numbers_of_its_own(both: tuple[Told, Told]) -> None:
    alone = torch.rand(4, generator=torch.Generator().manual_seed(STEP))
    assert torch.equal(both[0].drawn, alone)  # what one process has drawn ever
    assert not torch.equal(both[1].drawn, alone)
