"""Rotated boxes, against Gaussians and points that numpy works out."""

import numpy as np
import numpy.typing as npt

from lakesight.media.view import ImageView
from lakesight.models.rotated import (
    corners,
    prob_iou,
    rotated_nms,
    to_original,
    upright,
)

Floats = npt.NDArray[np.float64]
SQUARE = np.array([[10.0, 10, 4, 4, 0]])


def boxes(seed: int, count: int) -> Floats:
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.uniform(0, 40, (count, 2)),
            rng.uniform(3, 40, (count, 2)),
            rng.uniform(-np.pi / 4, 3 * np.pi / 4, count),
        ]
    )


def slow_prob_iou(first: Floats, second: Floats) -> float:
    """The Hellinger distance of two normal distributions, by matrices (arXiv:2106.06072)."""
    covariances = []
    for _, _, width, height, angle in (first, second):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        covariances.append(turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T)
    mean = (covariances[0] + covariances[1]) / 2
    apart = first[:2] - second[:2]
    dets = [np.linalg.det(one) for one in (mean, *covariances)]
    distance = apart @ np.linalg.inv(mean) @ apart / 8
    distance += np.log(dets[0] / np.sqrt(dets[1] * dets[2])) / 2
    return float(1 - np.sqrt(1 - np.exp(-distance)))


def test_prob_iou_is_that_of_the_gaussians() -> None:
    first, second = boxes(2, 20), boxes(3, 30)
    wanted = [[slow_prob_iou(one, other) for other in second] for one in first]
    assert np.max(wanted) > 0.3
    np.testing.assert_allclose(prob_iou(first, second), wanted, atol=1e-6)


def test_prob_iou_of_a_box_with_itself_is_one_and_of_an_empty_one_nothing() -> None:
    some = boxes(4, 10)
    np.testing.assert_allclose(np.diag(prob_iou(some, some)), 1, atol=1e-6)
    assert prob_iou(SQUARE, np.array([[10.0, 10, 0, 4, 0]])).tolist() == [[0]]


def test_the_best_of_each_crowd_stays() -> None:
    crowd = SQUARE + np.array([[0, 0, 0, 0, 0], [0.2, 0, 0, 0, 0.05], [0, 40, 0, 0, 0]])
    scores = np.array([0.5, 0.9, 0.1], np.float32)
    one_class, two_classes = np.array([0, 0, 0], np.int32), np.array([0, 1, 0], np.int32)
    assert rotated_nms(crowd, scores, one_class, 0.6, 10).tolist() == [1, 2]
    assert rotated_nms(crowd, scores, two_classes, 0.6, 10).tolist() == [1, 0, 2]


def test_corners_turn_from_x_towards_y() -> None:
    turned = corners(np.array([[0.0, 0, 4, 2, np.pi / 2]]))
    np.testing.assert_allclose(turned[0], [[1, -2], [1, 2], [-1, 2], [-1, -2]], atol=1e-12)
    np.testing.assert_allclose(upright(np.array([[5.0, 6, 4, 2, np.pi / 2]])), [[4, 4, 6, 8]])


def test_the_way_back_to_the_original_moves_every_corner_as_a_point() -> None:
    view = ImageView(width=64, height=64)
    width, height = 640, 320  # drawn at a tenth, 16 pixels below the top
    drawn = boxes(5, 8)
    points = (corners(drawn) - (0, 16)) * 10
    found = to_original(drawn, view.place(width, height))
    np.testing.assert_allclose(corners(found), points, atol=1e-9)
    assert (found[:, 4] >= -np.pi / 4).all()
    assert (found[:, 4] < 3 * np.pi / 4).all()


def test_corners_of_a_box_that_is_not_turned() -> None:
    found = corners(np.array([[10.0, 20.0, 4.0, 2.0, 0.0]]))
    assert sorted(map(tuple, found[0].tolist())) == [(8, 19), (8, 21), (12, 19), (12, 21)]
