"""Two processes compute of BLIP-2's first stage what one does of the whole batch: real gloo."""

import multiprocessing
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
import torch.distributed
import transformers
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lakesight.media.view import ImageView
from lakesight.models.blip2.language import IGNORED, Blip2Language
from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.models.preprocessor import Preprocessor
from lakesight.models.pretrained import Pixels
from lakesight.training.blip2 import texts
from lakesight.training.blip2.first_stage import FirstStageWeights, Pairs, first_stage_losses
from lakesight.training.blip2.recipe import drawn_by
from lakesight.training.blip2.regions import UNKNOWN
from lakesight.training.blip2.settings import (
    PartName,
    QuestionPart,
    RegionPart,
    SecondStageSettings,
)
from lakesight.training.blip2.views import Inputs, Look
from lakesight.training.blip2.writing import SecondStage, Written
from lakesight.training.muon import all_orthogonal, orthogonal
from tests.lakesight.models.blip2.small import NUM_WORDS, small_config

NUM = 6
"""Pairs of the whole batch; of two processes each has a half."""
NUM_PICTURES = 131
"""More than two processes look at together, and no multiple of it."""
STEP = 7
LENGTHS = [2, 9, 3, 4, 1, 6]
"""Tokens that are written about each picture."""
REGIONS = (torch.rand(NUM, 16, 4, generator=torch.Generator().manual_seed(3)) > 0.5).to(torch.int8)
"""What is true of patches, of two words; of one picture nobody said."""
REGIONS[4] = UNKNOWN
SHAPES = [(6, 6), (6, 24), (24, 6), (3, 4), (12, 6)]
MATRICES = [torch.randn(shape, generator=torch.Generator().manual_seed(4)) for shape in SHAPES]
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
    seen: "Kept"

    written: Found
    orthogonal: list[Tensor]
    """Of `MATRICES`."""


class Kept(NamedTuple):
    """What a tower saw of the pictures, and how many of them this process showed it."""

    features: Tensor
    num_shown: int


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


def kept(tmp: Path) -> Kept:
    """Look at the pictures ahead of a training; the tower sees their means."""
    shown = 0

    def see(pixels: Tensor) -> Tensor:
        nonlocal shown
        shown += len(pixels)
        return pixels.mean(3).transpose(1, 2)

    view = ImageView(width=16, height=16, fit="squash")
    look = Look(view, Pixels(Preprocessor(view=view), torch.device("cpu"), torch.float32))
    told = [texts.Told(path, ()) for path in sorted(tmp.glob("*.png"))]
    inputs = Inputs(told, look, "features", see)
    inputs.look_ahead(num_readers=0)
    return Kept(inputs.batch([inputs[one].pixels for one in told]), shown)


def written(rows: list[int]) -> Found:
    """Compute the second stage's losses of some pictures: texts of very different lengths."""
    kinds: Any = transformers
    first, text = small_config(), {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "word_embed_proj_dim": 16, "vocab_size": NUM_WORDS}
    config = kinds.Blip2Config(
        vision_config=first.vision_config.to_dict(),
        qformer_config=first.qformer_config.to_dict() | {"use_qformer_text_input": False},
        text_config=kinds.OPTConfig(**text).to_dict(),
        num_query_tokens=first.num_query_tokens,
        image_token_index=NUM_WORDS - 1,
    )
    torch.manual_seed(0)
    model = kinds.Blip2ForConditionalGeneration(config).eval()
    model.query_tokens.data.normal_()
    seen = torch.randn(NUM, 17, 32, generator=torch.Generator().manual_seed(1))[rows]
    prompt = [NUM_WORDS - 1] * first.num_query_tokens + [5]
    parts: dict[PartName, Written] = {}
    for name, remainder in (("captions", 0), ("questions", 1)):
        own = [place for place, row in enumerate(rows) if row % 2 == remainder]
        answers = [torch.arange(LENGTHS[rows[place]]) + 4 + rows[place] for place in own]
        ids = torch.tensor([prompt] * len(own))
        labels = pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        parts[cast("PartName", name)] = Written(
            torch.tensor(own), ids, torch.ones_like(ids), labels
        )
    settings = SecondStageSettings(
        freeze_vision=False,
        freeze_language=False,
        questions=QuestionPart(weight=2),
        regions=RegionPart(weight=0.5),
    )
    stage = SecondStage(Blip2Language(model), settings, num_words=2)
    losses = stage(seen, parts, REGIONS[rows])
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {name: one.grad for name, one in stage.named_parameters() if one.grad is not None}
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
            drawn = torch.rand(4)
        return Told(apart, matched, drawn, kept(tmp), written(own), [*all_orthogonal(MATRICES)])
    finally:
        torch.distributed.destroy_process_group()


def second(tmp: Path) -> None:
    told = process(1, tmp)
    found = [*told.apart_and_written, *told.matched, *told.written]
    parts = [*found, told.drawn, *told.seen, told.orthogonal]
    torch.save(parts, tmp / "second.pt")


@pytest.fixture(scope="module")
def all_told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Told, Kept]:
    """What two processes compute, and what one alone sees of the pictures."""
    tmp = tmp_path_factory.mktemp("processes")
    rng = np.random.default_rng(2)
    for number in range(NUM_PICTURES):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp / f"{number:03}.png")
    other = multiprocessing.get_context("spawn").Process(target=second, args=(tmp,))
    other.start()
    first = process(0, tmp)
    other.join()
    *found, drawn, features, num_shown, made = torch.load(tmp / "second.pt")
    apart, matched, told = (Found(*found[place : place + 2]) for place in (0, 2, 4))
    last = Told(apart, matched, drawn, Kept(features, num_shown), told, made)
    return first, last, kept(tmp)


@pytest.fixture(scope="module")
def both(all_told: tuple[Told, Told, Kept]) -> tuple[Told, Told]:
    return all_told[:2]


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


def test_what_is_written_counts_by_its_tokens(both: tuple[Told, Told]) -> None:
    """Whoever has few long texts does not count as much as who has many."""
    check_mean([one.written for one in both], written(list(range(NUM))))


def test_matrices_are_made_orthogonal_by_shares(both: tuple[Told, Told]) -> None:
    for told in both:
        for one, matrix in zip(told.orthogonal, MATRICES, strict=True):
            assert torch.equal(one, orthogonal(matrix))


def test_each_process_draws_numbers_of_its_own(both: tuple[Told, Told]) -> None:
    alone = torch.rand(4, generator=torch.Generator().manual_seed(STEP))
    assert torch.equal(both[0].drawn, alone)  # what one process has drawn ever
    assert not torch.equal(both[1].drawn, alone)


def test_each_process_looks_at_its_share_of_the_pictures(
    all_told: tuple[Told, Told, Kept],
) -> None:
    """And all of them have what was seen, in the order of the pictures."""
    *both, alone = all_told
    assert alone.num_shown >= NUM_PICTURES
    assert len(alone.features) == NUM_PICTURES
    assert len({one.numpy().tobytes() for one in alone.features}) == NUM_PICTURES
    for one in both:
        assert torch.equal(one.seen.features, alone.features)
        assert one.seen.num_shown < 0.75 * alone.num_shown
