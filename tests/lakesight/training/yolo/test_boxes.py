"""Overlaps of boxes, beside the formulas of their papers written out for one pair."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lakesight.training.yolo.boxes import ciou, prob_iou


def random_boxes(count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    return torch.tensor(np.concatenate([low, low + rng.uniform(1, 50, (count, 2))], 1))


def random_rotated(count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    parts = [rng.uniform(0, 50, (count, 2)), rng.uniform(4, 40, (count, 2))]
    return torch.tensor(np.concatenate([*parts, rng.uniform(-2, 2, (count, 1))], 1))


def slow_ciou(one: list[float], other: list[float]) -> float:
    """Equation by equation as in arXiv:1911.08287."""
    shared_w = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    shared_h = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    iou = shared_w * shared_h / (sum(areas) - shared_w * shared_h)
    hull_w = max(one[2], other[2]) - min(one[0], other[0])
    hull_h = max(one[3], other[3]) - min(one[1], other[1])
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (one, other)]
    between = math.dist(*centres) ** 2 / (hull_w**2 + hull_h**2)
    leans = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (one, other)]
    v = 4 / math.pi**2 * (leans[0] - leans[1]) ** 2
    return iou - between - (v * v / ((1 - iou) + v) if v else 0.0)


def slow_prob_iou(one: list[float], other: list[float]) -> float:
    """One minus the Hellinger distance of two normal distributions, by linear algebra."""
    means, covariances = [], []
    for x, y, width, height, angle in (one, other):
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        means.append(np.array([x, y]))
        covariances.append(turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T)
    apart, mean = means[0] - means[1], (covariances[0] + covariances[1]) / 2
    dets = [np.linalg.det(each) for each in covariances]
    distance = apart @ np.linalg.inv(mean) @ apart / 8
    distance += math.log(np.linalg.det(mean) / math.sqrt(dets[0] * dets[1])) / 2
    return 1 - math.sqrt(1 - math.exp(-distance))


def test_ciou_is_that_of_the_paper() -> None:
    one, other = random_boxes(50, 1), random_boxes(50, 2)
    expected = [slow_ciou(*pair) for pair in zip(one.tolist(), other.tolist(), strict=True)]
    np.testing.assert_allclose(ciou(one, other).numpy(), expected, atol=1e-6)


def test_ciou_pulls_apart_boxes_together() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]], requires_grad=True)
    ciou(box, torch.tensor([[10.0, 0.0, 14.0, 4.0]])).sum().backward()  # type: ignore[no-untyped-call]  # torch's own gap
    assert box.grad is not None
    assert box.grad[0, [0, 2]].sum() > 0, "moving right makes it better"


def test_prob_iou_is_that_of_the_paper() -> None:
    one, other = random_rotated(50, 3), random_rotated(50, 4)
    expected = [slow_prob_iou(*pair) for pair in zip(one.tolist(), other.tolist(), strict=True)]
    np.testing.assert_allclose(prob_iou(one, other).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("turn", [math.pi, -math.pi])
def test_a_box_after_half_a_turn_is_the_same(turn: float) -> None:
    boxes = random_rotated(5, 5)
    turned = boxes + torch.tensor([0, 0, 0, 0, turn])
    np.testing.assert_allclose(prob_iou(boxes, turned).numpy(), 1, atol=1e-3)
