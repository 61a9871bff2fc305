"""From decoded tensors to objects, against geometry."""

import numpy as np
import numpy.typing as npt
import pytest

from lakesight import masks
from lakesight.media.view import ImageView
from lakesight.models.detection import NmsOptions
from lakesight.models.yolo import decode

Floats = npt.NDArray[np.float32]
VIEW = ImageView(width=128, height=128)
WIDTH, HEIGHT = 200, 100
"""Drawn at 0.64, with 32 pixels of border above."""


def predictions(*anchors: list[float]) -> Floats:
    """Return `(4 + C + E, A)` from one list an anchor."""
    return np.array(anchors, np.float32).T


def test_an_anchor_is_one_object_of_its_likeliest_class() -> None:
    found = decode.candidates(
        predictions(
            [10, 10, 4, 4, 0.2, 0.1, 7],
            [50, 60, 4, 4, 0.3, 0.9, 8],
            [70, 60, 4, 4, 0.5, 0.25, 9],
        ),
        num_classes=2,
        threshold=0.25,
    )
    assert found.class_ids.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.boxes[:, 0].tolist() == [50, 70]
    assert found.extras.tolist() == [[8], [9]]


def test_what_overlaps_goes_and_extras_stay_with_their_boxes() -> None:
    found = decode.candidates(
        predictions(
            [50, 60, 20, 20, 0.6, 0, 1],
            [51, 60, 20, 20, 0.9, 0, 2],
            [52, 60, 20, 20, 0, 0.8, 3],
        ),
        num_classes=2,
        threshold=0.25,
    )
    kept = decode.suppressed(found, NmsOptions())
    assert kept.extras.tolist() == [[2], [3]]
    assert kept.class_ids.tolist() == [0, 1]


def test_objects_on_the_border_of_the_letterbox_are_left_out() -> None:
    found = decode.candidates(
        predictions([64, 10, 20, 20, 0.9, 1], [64, 64, 32, 16, 0.8, 2], [5, 64, 20, 16, 0.7, 3]),
        num_classes=1,
        threshold=0.25,
    )
    objects, seen = decode.in_original(found, VIEW, WIDTH, HEIGHT)
    assert seen.tolist() == [1, 2]
    wanted = [[75, 37.5, 125, 62.5], [0, 37.5, 15 / 0.64, 62.5]]
    np.testing.assert_allclose(objects.boxes_xyxy, wanted, rtol=1e-5)


def test_rotated_boxes_keep_their_shape_and_get_an_upright_one() -> None:
    angle = np.pi / 2
    found = decode.candidates(
        predictions([64, 64, 32, 16, 0.8, angle], [64, 64.5, 16, 32, 0.7, 0]), 1, 0.25
    )
    kept = decode.rotated_suppressed(found, NmsOptions())
    assert len(kept.scores) == 1, "a box and itself, turned and told the other way round"
    objects, rotated = decode.rotated_in_original(kept, VIEW, WIDTH, HEIGHT)
    np.testing.assert_allclose(rotated, [[100, 50, 50, 25, angle]], rtol=1e-5)
    np.testing.assert_allclose(objects.boxes_xyxy, [[87.5, 25, 112.5, 75]], rtol=1e-5)


@pytest.mark.parametrize(("dims", "score"), [(2, 1.0), (3, 0.5)])
def test_keypoints_go_back_to_the_original(dims: int, score: float) -> None:
    values = np.array([[64, 64, 0.5][:dims] + [0, 32, 0.5][:dims]], np.float32)
    found = decode.keypoints(values, dims, VIEW, WIDTH, HEIGHT)
    np.testing.assert_allclose(found, [[[100, 50, score], [0, 0, score]]], atol=1e-5)


def disk(x: float, y: float, radius: float) -> tuple[Floats, Floats]:
    """Return coefficients and prototypes of which the mask is a disk, in view pixels."""
    middles = np.arange(2, 128, 4)
    away = np.hypot(middles[None] - x, middles[:, None] - y)
    prototypes = np.zeros((32, 32, 32), np.float32)
    prototypes[0], prototypes[7] = away, 1.0
    coefficients = np.zeros((1, 32), np.float32)
    coefficients[0, 0], coefficients[0, 7] = -1.0, radius
    return coefficients, prototypes


def drawn(box: list[float], x: float, y: float, radius: float) -> npt.NDArray[np.bool_]:
    place, size = VIEW.place(WIDTH, HEIGHT), (WIDTH, HEIGHT)
    found = decode.rles(*disk(x, y, radius), np.array([box], np.float32), place, size)
    return masks.decode(masks.Rle((HEIGHT, WIDTH), found[0]))


def test_a_mask_is_at_the_originals_size_and_place() -> None:
    mask = drawn([60, 0, 140, 100], 64, 64, 16)  # radius 25 around the middle
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    away = np.hypot(x - 100, y - 50)
    assert mask[away < 24].all()
    assert not mask[away > 26].any()


@pytest.mark.parametrize("box", [[90, 40, 110, 50], [0, 0, 100.4, 100], [99.6, 49, 200, 100]])
def test_a_mask_ends_where_its_box_does(box: list[float]) -> None:
    whole = drawn([0, 0, WIDTH, HEIGHT], 64, 64, 16)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    mask = drawn(box, 64, 64, 16)
    assert mask.any()
    # interpolation rounds positions to 1/32 of a cell from each box's own corner
    assert (mask != (whole & inside)).sum() <= 4
    assert not mask[~inside].any()


def test_a_box_without_a_pixels_middle_has_an_empty_mask() -> None:
    assert not drawn([100.6, 50.6, 101.2, 51.2], 64, 64, 16).any()


def test_a_mask_may_fill_the_picture() -> None:
    assert drawn([0, 0, WIDTH, HEIGHT], 64, 64, 500).all()
