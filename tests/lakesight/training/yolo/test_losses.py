"""Losses of a whole batch, beside loops over anchors in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lakesight.training.yolo.assign import Objects, assign, inside_boxes
from lakesight.training.yolo.boxes import ciou
from lakesight.training.yolo.losses import (
    LossWeights,
    Predictions,
    Truth,
    classification_loss,
    decoded_boxes,
    detection_losses,
)

BINS = 8
ONES = LossWeights(box=1, classes=1, distribution=1, mask=1, keypoints=1, visibility=1)


def predictions(seed: int) -> Predictions:
    """Two pictures of 64 x 32 pixels, strides 8 and 16, 3 classes, 4 prototypes, 2 keypoints."""
    rng = np.random.default_rng(seed)
    anchors, strides = [], []
    for stride in (8, 16):
        for y in range(32 // stride):
            for x in range(64 // stride):
                anchors.append(((x + 0.5) * stride, (y + 0.5) * stride))
                strides.append(stride)
    count = len(anchors)

    def normal(*shape: int) -> Tensor:
        return torch.tensor(rng.normal(size=shape), dtype=torch.float64)

    return Predictions(
        sides=normal(2, count, 4, BINS),
        scores=normal(2, count, 3),
        anchors=torch.tensor(anchors, dtype=torch.float64),
        strides=torch.tensor(strides, dtype=torch.float64),
        coefficients=normal(2, count, 4),
        prototypes=normal(2, 4, 8, 16),
        keypoints=normal(2, count, 2, 3),
    )


def truth() -> Truth:
    boxes = torch.tensor([[[4.0, 4, 30, 28], [33, 2, 60, 30]], [[10.0, 6, 40, 26], [0, 0, 0, 0]]])
    instances = torch.zeros(2, 8, 16, dtype=torch.int64)
    instances[0, 1:7, 1:7], instances[0, 1:7, 9:15], instances[1, 2:6, 3:10] = 1, 2, 1
    keypoints = torch.tensor(
        [
            [[[6.0, 6, 2], [28, 20, 1]], [[40.0, 10, 2], [0, 0, 0]]],
            [[[12.0, 8, 2], [30, 20, 2]], [[0.0, 0, 0], [0, 0, 0]]],
        ]
    )
    ids, valid = torch.tensor([[0, 2], [1, 0]]), torch.tensor([[True, True], [True, False]])
    return Truth(Objects(boxes.double(), ids, valid), instances, keypoints.double())


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def cross_entropy(logit: float, wanted: float) -> float:
    return softplus(logit) - logit * wanted


def slow(said: Predictions, real: Truth) -> dict[str, float]:
    """Return every part of the loss, one anchor after another; the assignment is tested apart."""
    assert said.coefficients is not None
    assert said.prototypes is not None
    assert said.keypoints is not None
    assert real.instances is not None
    assert real.keypoints is not None
    boxes = decoded_boxes(said)
    given = assign(
        said.scores.sigmoid().float(), boxes.float(), said.anchors, real.objects, ciou, inside_boxes
    )
    total = max(1.0, float(given.scores.sum()))
    parts = dict.fromkeys(
        ("box", "classes", "distribution", "mask", "keypoints", "visibility"), 0.0
    )
    for logit, wanted in zip(said.scores.flatten(), given.scores.flatten(), strict=True):
        parts["classes"] += cross_entropy(float(logit), float(wanted)) / total
    places = torch.nonzero(given.is_object).tolist()
    for b, a in places:
        m = int(given.objects[b, a])
        box, share = real.objects.boxes[b, m], float(given.scores[b, a].sum()) / total
        stride, (x, y) = float(said.strides[a]), said.anchors[a].tolist()
        parts["box"] += (1 - float(ciou(boxes[b, a], box))) * share
        left, top, right, bottom = box.tolist()
        for side, pixels in enumerate((x - left, y - top, right - x, bottom - y)):
            wanted_bin = min(max(pixels / stride, 0), BINS - 1 - 0.01)
            low = int(wanted_bin)
            logs = said.sides[b, a, side].log_softmax(0)
            mixed = -float(logs[low]) * (low + 1 - wanted_bin)
            mixed -= float(logs[low + 1]) * (wanted_bin - low)
            parts["distribution"] += mixed / 4 * share
        area = (right - left) * (bottom - top)
        inner = 0.0
        for row in range(8):
            for column in range(16):
                px, py = (column + 0.5) * 4, (row + 0.5) * 4
                if left < px < right and top < py < bottom:
                    logit = float(said.coefficients[b, a] @ said.prototypes[b, :, row, column])
                    inner += cross_entropy(logit, float(real.instances[b, row, column] == m + 1))
        parts["mask"] += inner / (area / 16) / len(places)
        known = [float(real.keypoints[b, m, k, 2]) > 0 for k in range(2)]
        for k in range(2):
            raw = said.keypoints[b, a, k].tolist()
            px = (raw[0] * 2 + x / stride - 0.5) * stride
            py = (raw[1] * 2 + y / stride - 0.5) * stride
            wx, wy, _ = real.keypoints[b, m, k].tolist()
            e = ((px - wx) ** 2 + (py - wy) ** 2) / (2 * area * (2 * 0.5) ** 2)  # 1 / 2 keypoints
            if known[k]:
                parts["keypoints"] += (1 - math.exp(-e)) / sum(known) / len(places)
            parts["visibility"] += cross_entropy(raw[2], float(known[k])) / 2 / len(places)
    return parts


@pytest.mark.parametrize("seed", range(3))
def test_every_part_is_what_the_loops_give(seed: int) -> None:
    said, real = predictions(seed), truth()
    got = detection_losses(said, real, ONES)
    expected = slow(said, real)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-4), name


def test_a_batch_without_objects_has_a_finite_loss_and_gradient() -> None:
    said, real = predictions(0), truth()
    said = said._replace(scores=said.scores.requires_grad_())
    empty = real._replace(objects=real.objects._replace(valid=torch.zeros(2, 2, dtype=torch.bool)))
    total = torch.stack(list(detection_losses(said, empty, ONES).values())).sum()
    total.backward()  # type: ignore[no-untyped-call]  # torch's own gap
    assert total.isfinite()
    assert said.scores.grad is not None
    assert (said.scores.grad > 0).all(), "every score is to fall"


def test_a_perfect_rotated_box_costs_nothing() -> None:
    """All the weight of each distribution on the truth: one anchor in the middle of its plank."""
    target = torch.tensor([[[20.0, 20.0, 24.0, 8.0, 0.5]]])
    sides = torch.full((1, 1, 4, BINS), -50.0)
    for side, strides_away in enumerate((3, 1, 3, 1)):
        sides[0, 0, side, strides_away] = 50.0
    said = Predictions(
        sides=sides,
        scores=torch.tensor([[[3.0]]]),
        anchors=torch.tensor([[20.0, 20.0]]),
        strides=torch.tensor([4.0]),
        angles=torch.tensor([[0.5]]),
    )
    np.testing.assert_allclose(decoded_boxes(said)[0, 0], target[0, 0], atol=1e-4)
    objects = Objects(target, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1) > 0)
    losses = detection_losses(said, Truth(objects), ONES)
    assert float(losses["box"]) < 0.01
    assert float(losses["distribution"]) < 0.01


def test_several_classes_of_one_picture_are_several_answers() -> None:
    logits, wanted = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1, 0, 1]])
    pairs = zip(logits[0].tolist(), wanted[0].tolist(), strict=True)
    expected = sum(cross_entropy(logit, yes) for logit, yes in pairs) / 3
    assert float(classification_loss(logits, wanted)) == pytest.approx(expected, rel=1e-5)
