"""What is painted over a picture, by its pixels."""

from typing import Any

import numpy as np
import pytest

from lakesight import masks
from lakesight.models.base import Image
from lakesight.paint import MASK_ALPHA, colour_of, oklch, paint, write

GREY = 100
SIDE = 200
CAT = colour_of("cat")


def blank(height: int = SIDE, width: int = SIDE) -> Image:
    return np.full((height, width, 3), GREY, np.uint8)


def found(box: tuple[float, ...] = (40, 60, 140, 160), **more: Any) -> dict[str, Any]:
    return {"box": box, "score": 0.876, "class_id": 3, "label": "cat"} | more


def is_grey(image: Image, x: int, y: int) -> bool:
    return bool((image[y, x] == GREY).all())


def is_cat(image: Image, x: int, y: int) -> bool:
    """Return whether a pixel is of the colour of a cat, but for a softened edge."""
    return bool(np.abs(image[y, x].astype(int) - CAT).max() < 40)


def dark(image: Image) -> int:
    """Return how many pixels are of text."""
    return int((image.max(axis=2) < 60).sum())


def shows(image: Image, colour: Any) -> int:
    """Return how many pixels have exactly this colour."""
    return int((image == np.array(colour, np.uint8)).all(axis=2).sum())


def test_a_box_is_a_line_around_what_stays_as_it_was() -> None:
    image = blank()
    painted = paint(image, [found()])
    assert (image == GREY).all()
    for x, y in ((40, 110), (140, 110), (90, 160)):
        assert is_cat(painted, x, y)
    for x, y in ((60, 120), (20, 110), (180, 180)):
        assert is_grey(painted, x, y)


def test_a_reduced_picture_is_painted_where_the_object_is() -> None:
    painted = paint(blank(100, 200), [found((40, 60, 140, 160))], size_wh=(400, 200))
    assert is_cat(painted, 20, 55)
    assert is_cat(painted, 70, 55)
    assert is_grey(painted, 45, 60)


def test_a_mask_is_half_transparent() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[80:120, 60:100] = True
    painted = paint(blank(), [found(mask=masks.encode(mask).as_coco())])
    mixed = np.round(GREY * (1 - MASK_ALPHA) + np.array(CAT) * MASK_ALPHA)
    inside = painted[82:118, 62:98].reshape(-1, 3)
    assert (inside == mixed).all()
    assert is_grey(painted, 120, 100)


def test_a_rotated_box_is_drawn_and_not_the_upright_one() -> None:
    painted = paint(blank(), [found((30, 30, 170, 170), obb=[100, 100, 99, 99, np.pi / 4])])
    for x, y in ((100, 170), (30, 100), (170, 100)):
        assert is_cat(painted, x, y)
    assert is_grey(painted, 31, 31)
    assert is_grey(painted, 169, 169)


def test_keypoints_that_were_seen_are_dots_with_a_light_middle() -> None:
    points = [[60.0, 100.0, 0.9], [100.0, 130.0, 0.1], [120.0, 90.0, 0.3]]
    painted = paint(blank(), [found(keypoints=points)])
    assert tuple(painted[100, 60]) == (255, 255, 255)
    assert tuple(painted[90, 120]) == (255, 255, 255)
    assert is_grey(painted, 100, 130)
    assert is_grey(painted, 90, 95)  # no bones between points of an unknown set
    people = [[float(10 * i), 150.0, 0.9 if i in (5, 7) else 0.0] for i in range(17)]
    painted = paint(blank(), [found(keypoints=people)])
    assert is_cat(painted, 60, 150)  # the bone from shoulder to elbow


def test_the_label_stands_on_a_plate_above_or_inside() -> None:
    above = paint(blank(), [found()])
    assert is_cat(above, 41, 58)
    assert is_grey(above, 41, 40)
    inside = paint(blank(), [found((0, 0, 199, 199))])
    assert is_cat(inside, 4, 4)
    assert dark(above[40:60]) > 20  # the text
    assert dark(above[60:]) == 0


def test_labels_do_not_hide_each_other() -> None:
    one = shows(paint(blank(), [found()]), CAT)
    both = paint(blank(), [found(), found(label="dog")])
    assert shows(both, colour_of("dog")) > one * 0.5
    # the lines are at the same place, the plates are not
    plate = shows(paint(blank(), [found(score=0.876)])[:59], CAT)
    assert shows(both, CAT) >= plate * 0.9


@pytest.mark.parametrize(
    "box", [(0, 0, 199, 199), (190, 190, 199, 199), (-50, -50, 20, 20), (50, -9, 250, 250)]
)
def test_the_whole_label_is_inside_the_picture(box: tuple[float, ...]) -> None:
    alone = paint(blank(), [found((20, 60, 90, 90))])
    assert dark(alone) > 30
    assert dark(paint(blank(), [found(box)])) == dark(alone)


def test_a_label_of_any_length_and_kind_is_one_line() -> None:
    hostile = "Straße \n" + "x" * 500
    painted = paint(blank(), [found(label=hostile), found(label=None)])
    assert painted.shape == (SIDE, SIDE, 3)
    assert shows(painted, colour_of(hostile)) > 0
    assert shows(painted, colour_of("3")) > 0  # the class id, where there is no label


def test_text_is_written_at_the_top_and_wrapped() -> None:
    short, long = write(blank(), ["cat 0.91"]), write(blank(), ["a cat on a red sofa " * 6])
    assert is_grey(short, 100, 100)
    assert not is_grey(short, 2, 2)
    rows = [np.flatnonzero((one != GREY).any(axis=(1, 2))).max() for one in (short, long)]
    assert rows[0] < 20
    assert rows[1] > 3 * rows[0]
    assert (write(blank(), []) == GREY).all()


@pytest.mark.parametrize(
    ("lch", "rgb"),
    [  # of CSS Color 4: red, lime and blue
        ((0.627955, 0.257683, 29.2339), (255, 0, 0)),
        ((0.866440, 0.294827, 142.4953), (0, 255, 0)),
        ((0.452014, 0.313214, 264.0520), (0, 0, 255)),
        ((1.0, 0.0, 0.0), (255, 255, 255)),
    ],
)
def test_colours_are_those_of_css(lch: tuple[float, float, float], rgb: Any) -> None:
    np.testing.assert_allclose(oklch(*lch), rgb, atol=1)


def test_a_label_has_one_colour() -> None:
    assert colour_of("cat") == colour_of("cat")
    assert len({colour_of(str(number)) for number in range(50)}) > 45
