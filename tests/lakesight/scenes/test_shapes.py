"""Outlines, keypoints and rotated boxes against OpenCV's geometry and cases known by hand."""

import math
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from lakesight.scenes.figure import Figure
from lakesight.scenes.paint import Paint
from lakesight.scenes.shapes import LABELS, REPEATING, ROUND, shape, signed_area

PAINT = Paint("red", "plain", (255.0, 0.0, 0.0), 8.0, (0.0, 0.0))
ANGLES = (0.0, 0.3, math.pi / 4, 2.0, 3.5, 6.2)


def figure(label: str, angle: float, scale_px: float = 100) -> Figure:
    return Figure(label, 200.0, 150.0, scale_px, angle, PAINT)


def distance(label: str, point: tuple[float, float]) -> float:
    outline = (shape(label).rings[0] * 1000).astype(np.float32)
    x, y = point[0] * 1000, point[1] * 1000
    return abs(cv2.pointPolygonTest(outline, (x, y), measureDist=True))


@pytest.mark.parametrize("label", LABELS)
def test_a_shape_has_area_1_and_its_points_lie_on_it(label: str) -> None:
    made = shape(label)
    areas = [cv2.contourArea(ring.astype(np.float32)) for ring in made.rings]
    assert areas[0] - sum(areas[1:]) == pytest.approx(1, abs=1e-4)
    assert 1 <= len(made.points) <= 8
    assert max(distance(label, tuple(point)) for point in made.points.tolist()) < 0.01
    assert signed_area(made.rings[0]) > 0  # clockwise, with y down


def drawn(one: Figure) -> npt.NDArray[np.bool_]:
    canvas = np.zeros((400, 400), dtype=np.uint8)
    cv2.fillPoly(canvas, [ring.round().astype(np.int32) for ring in one.rings()], 1)
    return canvas.astype(bool)


def test_the_classes_look_different() -> None:
    """Hu's moments do not change when a shape is moved, scaled or turned."""
    moments = []
    for label in LABELS:
        canvas = drawn(figure(label, 0.5, 150)).astype(np.uint8)
        moments.append(cv2.HuMoments(cv2.moments(canvas, binaryImage=True)).ravel()[0])
    assert np.diff(np.sort(moments)).min() > 0.0002


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("label", LABELS)
def test_keypoints_run_clockwise(label: str, angle: float) -> None:
    points = figure(label, angle).keypoints()
    if len(points) > 2:
        assert signed_area(points) > 0


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("label", sorted(ROUND | REPEATING))
def test_where_points_cannot_be_told_apart_the_topmost_is_first(label: str, angle: float) -> None:
    points = figure(label, angle).keypoints()
    assert points[0, 1] <= points[:, 1].min() + 1e-3


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("label", sorted(set(LABELS) - ROUND - REPEATING))
def test_where_they_can_be_they_turn_with_the_shape(label: str, angle: float) -> None:
    upright = figure(label, 0.0)
    turned = figure(label, angle)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([(cos, sin), (-sin, cos)])
    expected = (upright.keypoints() - (upright.x, upright.y)) @ turn
    assert np.allclose(turned.keypoints() - (turned.x, turned.y), expected)


@pytest.mark.parametrize("label", sorted(set(LABELS) - ROUND))
def test_which_classes_look_the_same_after_a_part_of_a_turn(label: str) -> None:
    """Turned by each angle that brings one of its points onto another's bearing."""
    one = figure(label, 0.0, 150)
    upright, overlaps = drawn(one), []
    for num_parts in (2, 3, 4, 5, 6):
        turned = drawn(replace(one, angle=2 * math.pi / num_parts))
        overlaps.append((upright & turned).sum() / (upright | turned).sum())
    assert (max(overlaps) > 0.97) == (label in REPEATING)


def test_of_two_points_as_high_the_left_one_is_first() -> None:
    half = 50.0
    expected = [(-half, -half), (half, -half), (half, half), (-half, half)]
    for quarter in range(4):
        points = figure("square", math.pi / 4 + quarter * math.pi / 2).keypoints()
        assert np.allclose(points - (200, 150), expected)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("label", sorted(set(LABELS) - ROUND))
def test_a_rotated_box_is_as_small_as_opencv_finds_it(label: str, angle: float) -> None:
    one = figure(label, angle)
    x, y, width, height, turn = one.rotated_box()
    _, size, _ = cv2.minAreaRect(one.rings()[0].astype(np.float32))
    assert width * height == pytest.approx(size[0] * size[1], rel=2e-3)
    assert width >= height * (1 - 1e-6)
    assert -math.pi / 4 <= turn < 3 * math.pi / 4
    axes = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
    along = (one.rings()[0] - (x, y)) @ axes.T
    assert np.allclose(along.max(axis=0), (width / 2, height / 2), atol=1e-6 * width)
    assert np.allclose(along.min(axis=0), (-width / 2, -height / 2), atol=1e-6 * width)


@pytest.mark.parametrize(
    ("label", "angle", "expected"),
    [
        ("square", math.pi / 4, (100, 100, 0.0)),
        ("square", math.pi / 4 + 0.2, (100, 100, 0.2)),
        ("square", math.pi / 4 - 0.2, (100, 100, -0.2)),
        ("semicircle", 0.0, (159.58, 79.79, 0.0)),  # r = 100 sqrt(2 / pi)
        ("semicircle", 2.0, (159.58, 79.79, 2.0)),
        ("semicircle", -0.7, (159.58, 79.79, -0.7)),
        ("circle", 1.0, (112.84, 112.84, 0.0)),  # r = 100 / sqrt(pi)
        ("ring", 1.0, (136.2, 136.2, 0.0)),  # r = 100 / sqrt(pi (1 - 0.56^2))
    ],
)
def test_rotated_boxes_known_by_hand(
    label: str, angle: float, expected: tuple[float, float, float]
) -> None:
    _, _, width, height, turn = figure(label, angle).rotated_box()
    assert (width, height) == pytest.approx(expected[:2], rel=2e-3)
    assert turn == pytest.approx(expected[2], abs=1e-6)
