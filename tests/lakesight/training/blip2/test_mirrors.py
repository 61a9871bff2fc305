"""Pictures in mirrors, and what is true of their patches there."""

from collections.abc import Mapping

import numpy as np
import pytest
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.training.blip2.mirrors import Mirrors, check_square, mirrored
from lakesight.training.blip2.regions import Grid, patch_labels
from lakesight.training.blip2.settings import FirstStageSettings
from lakesight.training.blip2.told import Region

SIDE, PATCH = 48, 16
VIEW = ImageView(width=SIDE, height=SIDE, fit="squash")
ALWAYS = Mirrors(horizontal=1, vertical=1, diagonal=1)


def test_both_flips_and_the_diagonal_give_all_eight() -> None:
    grid = np.arange(9).reshape(3, 3)
    half = Mirrors(horizontal=0.5, vertical=0.5, diagonal=0.5)
    found = {
        tuple(mirrored(grid, half, np.array(draws)).ravel().tolist())
        for draws in np.ndindex(2, 2, 2)
    }
    turns = [np.rot90(grid, times) for times in range(4)]
    assert found == {tuple(one.ravel().tolist()) for turn in turns for one in (turn, turn.T)}


def test_nothing_is_mirrored_unless_asked() -> None:
    assert not Mirrors().any
    grid = np.arange(6).reshape(2, 3)
    assert mirrored(grid, Mirrors(), np.zeros(3)).tolist() == grid.tolist()
    assert mirrored(grid, Mirrors(horizontal=1), np.full(3, 0.999)).tolist() == [
        [2, 1, 0],
        [5, 4, 3],
    ]


@pytest.mark.parametrize("draws", list(np.ndindex(2, 2, 2)))
def test_labels_are_those_of_the_mirrored_boxes(draws: tuple[int, ...]) -> None:
    """What is told of the patches of a mirrored picture is what its mirrored objects would tell."""
    half = Mirrors(horizontal=0.5, vertical=0.5, diagonal=0.5)
    boxes = {"red": (2, 3, 21, 30), "star": (30, 9, 44, 17)}
    grid = Grid(SIDE // PATCH, SIDE // PATCH, PATCH)
    placement = VIEW.place(SIDE, SIDE)

    def labels(of: Mapping[str, tuple[float, ...]]) -> np.ndarray:
        regions = [Region((a, b, c, d), name) for name, (a, b, c, d) in of.items()]
        return patch_labels(regions, placement, grid, ("red", "star")).reshape(3, 3, -1)

    moved = {}
    for name, (left, top, right, bottom) in boxes.items():
        pixels = np.zeros((SIDE, SIDE), bool)
        pixels[top:bottom, left:right] = True
        rows, columns = np.nonzero(mirrored(pixels, half, np.array(draws)))
        moved[name] = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    found = mirrored(labels(boxes), half, np.array(draws))
    assert found.tolist() == labels(moved).tolist()


def test_what_cannot_be_mirrored_is_refused() -> None:
    check_square(VIEW, ALWAYS)
    with pytest.raises(UserError, match="square views, and the model sees 64 x 48"):
        check_square(ImageView(width=64, height=48, fit="squash"), ALWAYS)
    with pytest.raises(ValidationError, match="mirror none, or keep views"):
        FirstStageSettings(keep="features", mirrors=ALWAYS)
