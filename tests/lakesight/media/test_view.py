"""Where an original lies in a view."""

import numpy as np
import pytest

from lakesight.media.view import Fit, ImageView, Placement

SIZES = [(1, 1), (1, 1000), (1000, 1), (7, 5), (333, 777), (640, 480), (4032, 3024), (30000, 2)]
VIEWS = [(224, 224), (640, 640), (320, 97), (1, 1)]


@pytest.mark.parametrize(
    ("fit", "size_wh", "expected"),
    [
        ("letterbox", (1280, 720), Placement(0.5, 0.5, 0, 140)),
        ("letterbox", (100, 200), Placement(3.2, 3.2, 160, 0)),
        ("letterbox", (1, 1000), Placement(1.0, 0.64, 319, 0)),
        ("squash", (1280, 720), Placement(0.5, 640 / 720, 0, 0)),
        ("crop", (1280, 640), Placement(1.0, 1.0, -320, 0)),
        ("crop", (100, 200), Placement(6.4, 6.4, 0, -320)),
        ("crop", (300, 301), Placement(640 / 300, 642 / 301, 0, -1)),
        ("crop", (1000, 1003), Placement(0.64, 641 / 1003, 0, 0)),
    ],
)
def test_place_of_a_640_view(fit: Fit, size_wh: tuple[int, int], expected: Placement) -> None:
    assert ImageView(width=640, height=640, fit=fit).place(*size_wh) == expected


@pytest.mark.parametrize("view_wh", VIEWS)
@pytest.mark.parametrize("size_wh", SIZES)
def test_a_letterbox_lies_inside_and_a_crop_covers(
    size_wh: tuple[int, int], view_wh: tuple[int, int]
) -> None:
    whole = np.array([[0, 0, *size_wh]])
    inside = ImageView(width=view_wh[0], height=view_wh[1], fit="letterbox").place(*size_wh)
    box = np.rint(inside.to_view(whole))
    assert (box >= 0).all()
    assert (box <= [[*view_wh, *view_wh]]).all()
    covering = ImageView(width=view_wh[0], height=view_wh[1], fit="crop").place(*size_wh)
    left, top, right, bottom = np.rint(covering.to_view(whole))[0]
    assert left <= 0
    assert top <= 0
    assert right >= view_wh[0]
    assert bottom >= view_wh[1]


@pytest.mark.parametrize("fit", ["letterbox", "squash", "crop"])
@pytest.mark.parametrize("size_wh", SIZES)
def test_boxes_come_back_from_a_view(fit: Fit, size_wh: tuple[int, int]) -> None:
    place = ImageView(width=320, height=97, fit=fit).place(*size_wh)
    boxes_xyxy = np.array([[0, 0, *size_wh], [0.25, 0.5, 0.75, 1.0]])
    np.testing.assert_allclose(place.to_original(place.to_view(boxes_xyxy)), boxes_xyxy, atol=1e-6)
