"""What lies where: boxes to patches, phrases to words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lakesight.media.view import ImageView
from lakesight.training.blip2.regions import (
    UNKNOWN,
    Grid,
    WordF1,
    patch_labels,
    region_words,
    regions_loss,
    words_in,
)
from lakesight.training.blip2.texts import Region, Told

GRID = Grid(rows=4, columns=4, patch=8)
WORDS = ("red", "cup", "dog")
WHOLE = ImageView(width=32, height=32, fit="squash").place(64, 32)
"""Of pictures twice as wide as high: x is halved."""


def labelled(*regions: Region, middles: bool = False) -> dict[str, set[tuple[int, int]]]:
    """Return the rows and columns at which each word is true: of regions, or of their middles."""
    both = patch_labels(regions, WHOLE, GRID, WORDS).reshape(4, 4, 2, len(WORDS))
    found = both[:, :, int(middles)]
    return {
        word: {(int(row), int(column)) for row, column in np.argwhere(found[..., number])}
        for number, word in enumerate(WORDS)
    }


def test_a_box_gives_its_words_to_the_patches_that_it_covers_by_half() -> None:
    # in the view: x 7 to 21, y 0 to 12
    found = labelled(Region((14, 0, 42, 12), "a Red cup."))
    assert found["red"] == found["cup"] == {(0, 1), (0, 2), (1, 1)}
    assert found["dog"] == set()


def test_what_is_smaller_than_a_patch_is_where_it_mostly_is() -> None:
    # 4 x 4 in the view, three quarters of it in the patch of row 3, column 1
    assert labelled(Region((18, 25, 26, 29), "dog"))["dog"] == {(3, 1)}


def test_regions_that_overlap_give_both_their_words() -> None:
    found = labelled(Region((0, 0, 16, 8), "cup"), Region((0, 0, 16, 8), "dog"))
    assert found == {"red": set(), "cup": {(0, 0)}, "dog": {(0, 0)}}


def test_the_patch_of_the_middle_learns_its_words_too() -> None:
    # middles in the view: (14, 6) and (31, 31); what reaches beyond the picture ends at its edge
    cup, dog = Region((14, 0, 42, 12), "red cup"), Region((60, 30, 68, 34), "dog")
    found = labelled(cup, dog, middles=True)
    assert found == {"red": {(0, 1)}, "cup": {(0, 1)}, "dog": {(3, 3)}}
    two = labelled(Region((0, 0, 16, 8), "cup"), Region((32, 0, 48, 8), "cup"), middles=True)
    assert two["cup"] == {(0, 0), (0, 2)}


def test_no_regions_are_no_words() -> None:
    assert patch_labels((), WHOLE, GRID, WORDS).shape == (16, 6)
    assert not patch_labels((), WHOLE, GRID, WORDS).any()


def test_the_most_frequent_words_are_learned() -> None:
    box = (0.0, 0.0, 1.0, 1.0)
    told = [
        Told(Path("a"), regions=(Region(box, "a red cup"), Region(box, "a dog"))),
        Told(Path("b"), regions=(Region(box, "red dog, RED"),)),
    ]
    assert region_words(told) == ("red", "a", "dog", "cup")
    assert region_words(told, most=2) == ("red", "a")


def test_words_are_letters_and_digits() -> None:
    assert words_in("A dog's 2nd bowl, half-full") == [
        "a",
        "dog",
        "s",
        "2nd",
        "bowl",
        "half",
        "full",
    ]


def test_the_loss_is_a_sum_over_words_and_a_mean_over_patches() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, generator=rng)
    labels = (torch.rand(2, 5, 3, generator=rng) > 0.5).to(torch.int8)
    total = 0.0
    for said, true in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        chance = 1 / (1 + np.exp(-said))
        total -= np.log(chance if true else 1 - chance)
    assert float(regions_loss(logits, labels)) == pytest.approx(total / 10, rel=1e-5)
    alone = torch.ones_like(labels)  # all true: each counts as often as it is told to
    once = float(regions_loss(logits, alone))
    assert float(regions_loss(logits, alone, present=4.0)) == pytest.approx(4 * once, rel=1e-5)
    none = torch.zeros_like(labels)
    assert float(regions_loss(logits, none, present=4.0)) == pytest.approx(
        float(regions_loss(logits, none)), rel=1e-5
    )


def test_pictures_that_nobody_described_do_not_count() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 6, generator=rng)
    labels = (torch.rand(3, 5, 6, generator=rng) > 0.5).to(torch.int8)
    labels[1] = UNKNOWN
    described = logits[[0, 2]], labels[[0, 2]]
    assert float(regions_loss(logits, labels)) == pytest.approx(
        float(regions_loss(*described)), rel=1e-5
    )
    all_of_them, alone = WordF1(6), WordF1(6)
    all_of_them.update(logits, labels)
    alone.update(*described)
    assert all_of_them.value() == alone.value() > 0
    assert float(regions_loss(logits, torch.full_like(labels, UNKNOWN))) == 0


def test_f1_is_the_mean_over_words_that_are_there() -> None:
    f1 = WordF1(3)
    # the first word: one right, one missed; the second: one right, one wrong; the third is nowhere
    logits = torch.tensor([[[1.0, 1, -1], [-1, 1, 1]], [[-1, -1, -1], [-1, -1, -1]]])
    labels = torch.tensor([[[1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]]).bool()
    f1.update(logits[:1], labels[:1])
    f1.update(logits[1:], labels[1:])
    assert f1.value() == pytest.approx(2 / 3)
