"""What a YOLO is trained to make small: boxes, classes, masks, keypoints and rotated boxes.

Shapes: B pictures, A anchors, C classes, F anchors that answer for an object ("foreground"), K
keypoints. Lengths are in pixels, except in the distribution loss, which counts strides.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch user knows
from pydantic import Field
from torch import Tensor

from lakesight.metrics.rules import keypoint_sigmas
from lakesight.models.base import Frozen
from lakesight.models.yolo.outputs import NUM_BINS, Raw
from lakesight.training.yolo.assign import (
    Assignment,
    Objects,
    assign,
    inside_boxes,
    inside_rotated,
)
from lakesight.training.yolo.boxes import ciou, prob_iou


class LossWeights(Frozen):
    """How much each part counts in the sum."""

    box: float = Field(default=7.5, ge=0)
    """Overlap of boxes, and of rotated boxes."""
    classes: float = Field(default=0.5, ge=0)
    """Class scores."""
    distribution: float = Field(default=1.5, ge=0)
    """Distributions of the four sides (DFL)."""
    mask: float = Field(default=7.5, ge=0)
    """Masks of instances."""
    keypoints: float = Field(default=12.0, ge=0)
    """Places of keypoints."""
    visibility: float = Field(default=1.0, ge=0)
    """Whether a keypoint is there."""


class Predictions(NamedTuple):
    """The raw outputs of a network, over all levels."""

    sides: Tensor
    """`(B, A, 4, bins)` logits of the distances from the anchor to left, top, right, bottom."""
    scores: Tensor
    """`(B, A, C)` logits."""
    anchors: Tensor
    """`(A, 2)` points in pixels."""
    strides: Tensor
    """`(A,)` pixels."""
    coefficients: Tensor | None = None
    """`(B, A, P)` of the prototypes."""
    prototypes: Tensor | None = None
    """`(B, P, h, w)`."""
    keypoints: Tensor | None = None
    """`(B, A, K, 3)`: offsets as the head gives them, and a logit of being there."""
    angles: Tensor | None = None
    """`(B, A)` radians."""

    @classmethod
    def of(cls, raw: Raw) -> "Predictions":
        """Return a network's raw output in the form of the losses: anchors before channels."""
        batch, _, num_anchors = raw.boxes.shape
        keypoints = raw.keypoints
        if keypoints is not None:
            keypoints = keypoints.view(batch, -1, 3, num_anchors).permute(0, 3, 1, 2).float()
        return cls(
            sides=raw.boxes.view(batch, 4, NUM_BINS, num_anchors).permute(0, 3, 1, 2).float(),
            scores=raw.scores.transpose(1, 2).float(),
            anchors=(raw.points * raw.strides).T,
            strides=raw.strides[0],
            coefficients=None if raw.masks is None else raw.masks.transpose(1, 2).float(),
            prototypes=None if raw.prototypes is None else raw.prototypes.float(),
            keypoints=keypoints,
            angles=None
            if raw.angles is None
            else (raw.angles[:, 0].float().sigmoid() - 0.25) * math.pi,
        )


class Truth(NamedTuple):
    """What is on the pictures of a batch, padded to the picture that has most objects."""

    objects: Objects
    """Boxes `(B, M, 4)` xyxy; rotated ones `(B, M, 5)` for a network with angles."""
    instances: Tensor | None = None
    """`(B, h, w)` int64 at the prototypes' size: one more than the object's number, or 0."""
    keypoints: Tensor | None = None
    """`(B, M, K, 3)`: x, y in pixels, and 2, 1 or 0."""


def detection_losses(
    predictions: Predictions, truth: Truth, weights: LossWeights
) -> dict[str, Tensor]:
    """Return every part of the loss, weighted; their sum is what to make small.

    Parts are means over what the assignment wants, so that their size does not depend on the batch.
    """
    boxes = decoded_boxes(predictions)
    assignment = _assigned(predictions, boxes, truth)
    total = assignment.scores.sum().clamp(min=1)
    parts = {"classes": weights.classes * _class_loss(predictions, assignment) / total}
    share = assignment.scores.sum(-1)[assignment.is_object] / total  # (F,)
    target = _targets(truth.objects.boxes, assignment)  # (F, 4 or 5)
    found = boxes[assignment.is_object]
    overlap = ciou(found, target) if predictions.angles is None else prob_iou(found, target)
    parts["box"] = weights.box * ((1 - overlap) * share).sum()
    parts["distribution"] = (
        weights.distribution * (_side_loss(predictions, assignment, target) * share).sum()
    )
    if predictions.prototypes is not None:
        parts["mask"] = weights.mask * _mask_loss(predictions, truth, assignment, target)
    if predictions.keypoints is not None:
        place, there = _keypoint_losses(predictions, truth, assignment, target)
        parts |= {"keypoints": weights.keypoints * place, "visibility": weights.visibility * there}
    return parts


def classification_loss(logits: Tensor, class_ids: Tensor) -> Tensor:
    """Return the cross entropy of `(B, C)` logits; classes are `(B,)` ids or `(B, C)` of 0 and 1.

    With the latter several classes may hold at once, and each is a yes or no of its own.
    """
    if class_ids.ndim == 1:
        return F.cross_entropy(logits, class_ids)
    return F.binary_cross_entropy_with_logits(logits, class_ids.to(logits.dtype))


def decoded_boxes(predictions: Predictions) -> Tensor:
    """Return the boxes in pixels: `(B, A, 4)` xyxy, or `(B, A, 5)` with angles."""
    bins = torch.arange(predictions.sides.shape[-1], device=predictions.sides.device)
    sides = predictions.sides.softmax(-1) @ bins.to(predictions.sides.dtype)  # (B, A, 4)
    sides = sides * predictions.strides[:, None]
    near, far = sides[..., :2], sides[..., 2:]
    if predictions.angles is None:
        return torch.cat([predictions.anchors - near, predictions.anchors + far], -1)
    angle = predictions.angles[..., None]
    along, across = ((far - near) / 2).chunk(2, -1)
    cos, sin = angle.cos(), angle.sin()
    shift = torch.cat([along * cos - across * sin, along * sin + across * cos], -1)
    return torch.cat([predictions.anchors + shift, near + far, angle], -1)


def _assigned(predictions: Predictions, boxes: Tensor, truth: Truth) -> Assignment:
    rotated = predictions.angles is not None
    return assign(
        predictions.scores.detach().sigmoid().float(),
        boxes.detach().float(),
        predictions.anchors,
        truth.objects,
        prob_iou if rotated else ciou,
        inside_rotated if rotated else inside_boxes,
    )


def _targets(values: Tensor, assignment: Assignment) -> Tensor:
    """Return `(F, ...)`: the values `(B, M, ...)` of the objects that the anchors answer for."""
    pictures, anchors = assignment.is_object.nonzero(as_tuple=True)
    return values[pictures, assignment.objects[pictures, anchors]]


def _class_loss(predictions: Predictions, assignment: Assignment) -> Tensor:
    wanted = assignment.scores.to(predictions.scores.dtype)
    return F.binary_cross_entropy_with_logits(predictions.scores, wanted, reduction="sum")


def _side_loss(predictions: Predictions, assignment: Assignment, target: Tensor) -> Tensor:
    """Return `(F,)`: distribution focal loss of the four sides (arXiv:2006.04388).

    A distance lies between two whole numbers of strides; their logits share the cross entropy.
    """
    _, places = assignment.is_object.nonzero(as_tuple=True)
    anchors, strides = predictions.anchors[places], predictions.strides[places, None]
    last = predictions.sides.shape[-1] - 1
    wanted = (_sides_of(anchors, target) / strides).clamp(0, last - 0.01)
    lower = wanted.floor().long()
    above = wanted - lower
    logits = predictions.sides[assignment.is_object].flatten(0, 1).float()  # (4F, bins)
    low = F.cross_entropy(logits, lower.flatten(), reduction="none").view_as(wanted)
    high = F.cross_entropy(logits, lower.flatten() + 1, reduction="none").view_as(wanted)
    return (low * (1 - above) + high * above).mean(-1)


def _sides_of(anchors: Tensor, target: Tensor) -> Tensor:
    """Return `(F, 4)`: pixels from the anchors to the sides of the target, along its own axes."""
    if target.shape[-1] == 4:
        return torch.cat([anchors - target[:, :2], target[:, 2:] - anchors], -1)
    offset, angle = anchors - target[:, :2], target[:, 4]
    along = offset[:, 0] * angle.cos() + offset[:, 1] * angle.sin()
    across = offset[:, 1] * angle.cos() - offset[:, 0] * angle.sin()
    place, half = torch.stack([along, across], -1), target[:, 2:4] / 2
    return torch.cat([half + place, half - place], -1)


def _mask_loss(
    predictions: Predictions, truth: Truth, assignment: Assignment, target: Tensor
) -> Tensor:
    """Return the mean over anchors of the cross entropy inside the object's box, by its area."""
    assert predictions.prototypes is not None
    assert predictions.coefficients is not None
    assert truth.instances is not None
    pictures, _ = assignment.is_object.nonzero(as_tuple=True)
    if not len(pictures):
        return predictions.prototypes.sum() * 0 + predictions.coefficients.sum() * 0
    height, width = predictions.prototypes.shape[-2:]
    numbers = assignment.objects[assignment.is_object] + 1
    full = _full_size(predictions)
    scale = torch.tensor([width / full[0], height / full[1]] * 2, device=target.device)
    areas = (target[:, 2:] - target[:, :2]).prod(-1) * scale[:2].prod()
    coefficients = predictions.coefficients[assignment.is_object]
    losses = []
    for picture in sorted(set(pictures.tolist())):
        here = pictures == picture
        logits = torch.einsum("fp,phw->fhw", coefficients[here], predictions.prototypes[picture])
        wanted = (truth.instances[picture] == numbers[here, None, None]).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        inside = _inside(target[here] * scale, height, width)
        losses.append((loss * inside).sum((1, 2)) / areas[here].clamp(min=1))
    return torch.cat(losses).mean()


def _full_size(predictions: Predictions) -> tuple[float, float]:
    """Return the picture's width and height in pixels, from the outermost anchors."""
    far = predictions.anchors + predictions.strides[:, None] / 2
    width, height = far.amax(0).tolist()
    return width, height


def _inside(boxes_xyxy: Tensor, height: int, width: int) -> Tensor:
    """Return `(F, height, width)`: 1 where the middle of a pixel lies inside the box."""
    y = torch.arange(height, device=boxes_xyxy.device)[:, None] + 0.5
    x = torch.arange(width, device=boxes_xyxy.device)[None] + 0.5
    left, top, right, bottom = boxes_xyxy[:, :, None, None].unbind(1)
    return ((x > left) & (x < right) & (y > top) & (y < bottom)).to(boxes_xyxy.dtype)


def _keypoint_losses(
    predictions: Predictions,
    truth: Truth,
    assignment: Assignment,
    target: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return one minus the object keypoint similarity, and the cross entropy of being there.

    OKS as COCO defines it: a Gaussian of the distance, by the object's area and the point's sigma.
    """
    assert predictions.keypoints is not None
    assert truth.keypoints is not None
    if not assignment.is_object.any():
        return predictions.keypoints.sum() * 0, predictions.keypoints.sum() * 0
    _, places = assignment.is_object.nonzero(as_tuple=True)
    raw = predictions.keypoints[assignment.is_object]  # (F, K, 3)
    cells = predictions.anchors[places] / predictions.strides[places, None]
    points = (raw[..., :2] * 2 + (cells - 0.5)[:, None]) * predictions.strides[places, None, None]
    wanted = _targets(truth.keypoints, assignment)
    known = (wanted[..., 2] > 0).to(raw.dtype)
    area = (target[:, 2:] - target[:, :2]).prod(-1, keepdim=True)
    sigma = torch.tensor(keypoint_sigmas(raw.shape[1])).to(raw)
    distance = (points - wanted[..., :2]).square().sum(-1)
    similarity = torch.exp(-distance / (2 * area * (2 * sigma).square() + 1e-9))
    of_known = raw.shape[1] / (known.sum(-1, keepdim=True) + 1e-9)
    place = (of_known * (1 - similarity) * known).mean()
    there = F.binary_cross_entropy_with_logits(raw[..., 2], known)
    return place, there
