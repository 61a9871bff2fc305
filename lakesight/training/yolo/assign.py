"""Which anchor answers for which object: task-aligned assignment (TOOD, arXiv:2108.07755).

Shapes: B pictures, M objects of a picture (padded), A anchors, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

TOP_K, ALPHA, BETA = 10, 0.5, 6.0
"""How many anchors an object may have; the powers of score and overlap in their alignment."""

Overlap = Callable[[Tensor, Tensor], Tensor]
Inside = Callable[[Tensor, Tensor], Tensor]


class Assignment(NamedTuple):
    """What every anchor is to say."""

    objects: Tensor
    """`(B, A)` int64: number of the object, where `is_object`."""
    is_object: Tensor
    """`(B, A)` bool."""
    scores: Tensor
    """`(B, A, C)` float: the wanted class scores; an aligned anchor's is its object's best IoU."""


class Objects(NamedTuple):
    """The objects of a batch, padded to the picture that has most."""

    boxes: Tensor
    """`(B, M, 4)` xyxy, or `(B, M, 5)` rotated, in pixels."""
    class_ids: Tensor
    """`(B, M)` int64."""
    valid: Tensor
    """`(B, M)` bool: false for padding."""


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes: Tensor,
    anchors: Tensor,
    objects: Objects,
    overlap: Overlap,
    inside: Inside,
) -> Assignment:
    """Return what every anchor is to say, from what it says now.

    `scores` is `(B, A, C)` in 0..1, `boxes` `(B, A, 4 or 5)` in pixels, `anchors` `(A, 2)` points
    in pixels. `overlap` compares boxes, `inside(anchors, boxes)` tells `(B, M, A)` which anchors
    may answer for a box. An object takes the `TOP_K` best aligned of them; an anchor that two
    objects want goes to the one that it overlaps most.
    """
    may = inside(anchors, objects.boxes) & objects.valid[..., None]  # (B, M, A)
    overlaps = overlap(objects.boxes[:, :, None], boxes[:, None]).clamp(min=0)  # (B, M, A)
    wanted = objects.class_ids[:, :, None].expand(-1, -1, scores.shape[1])
    said = scores.transpose(1, 2).gather(1, wanted)  # (B, M, A)
    alignment = torch.where(may, said.pow(ALPHA) * overlaps.pow(BETA), 0)
    chosen = _top(alignment)
    chosen = _one_object_each(chosen, overlaps)
    return Assignment(
        objects=chosen.to(torch.uint8).argmax(1),
        is_object=chosen.any(1),
        scores=_wanted_scores(chosen, alignment, overlaps, objects, scores.shape[-1]),
    )


def inside_boxes(anchors: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Return `(B, M, A)`: which anchor points lie inside which boxes `(B, M, 4)`."""
    low, high = boxes_xyxy[:, :, None, :2], boxes_xyxy[:, :, None, 2:]
    return ((anchors > low) & (anchors < high)).all(-1)


def inside_rotated(anchors: Tensor, boxes_xywhr: Tensor) -> Tensor:
    """Return `(B, M, A)`: which anchor points lie inside which rotated boxes `(B, M, 5)`."""
    offset = anchors - boxes_xywhr[:, :, None, :2]  # (B, M, A, 2)
    angle = boxes_xywhr[:, :, None, 4]
    cos, sin = angle.cos(), angle.sin()
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    half = boxes_xywhr[:, :, None, 2:4] / 2
    return (along.abs() < half[..., 0]) & (across.abs() < half[..., 1])


def _top(alignment: Tensor) -> Tensor:
    """Return `(B, M, A)`: the best aligned anchors of each object, of those aligned at all."""
    best = alignment.topk(min(TOP_K, alignment.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(alignment, dtype=torch.bool).scatter_(-1, best, value=True)
    return chosen & (alignment > 0)


def _one_object_each(chosen: Tensor, overlaps: Tensor) -> Tensor:
    """Return `(B, M, A)` with at most one object an anchor: the one it overlaps most."""
    best = torch.where(chosen, overlaps, -1).argmax(1, keepdim=True)
    return chosen & torch.zeros_like(chosen).scatter_(1, best, value=True)


def _wanted_scores(
    chosen: Tensor, alignment: Tensor, overlaps: Tensor, objects: Objects, num_classes: int
) -> Tensor:
    """Return `(B, A, C)`: alignment, scaled so that an object's best anchor has its best IoU."""
    alignment = torch.where(chosen, alignment, 0)
    best_alignment = alignment.amax(-1, keepdim=True)
    best_overlap = torch.where(chosen, overlaps, 0).amax(-1, keepdim=True)
    scaled = alignment / (best_alignment + 1e-9) * best_overlap  # (B, M, A)
    classes = torch.nn.functional.one_hot(objects.class_ids, num_classes).to(scaled.dtype)
    return torch.einsum("bma,bmc->bac", scaled, classes)
