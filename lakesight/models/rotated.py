"""Rotated boxes: how much they overlap, which of them to keep, where they lie in the original.

A box is centre x, centre y, width, height and the angle in radians, from x towards y (clockwise
on the screen), in -pi/4 to 3/4 pi. Two overlaps, for two ends: ProbIoU suppresses, since it costs a
few operations a pair; `lakesight.metrics.rotated` evaluates by the polygons' exact IoU, since that
is what data sets define.
"""

import numpy as np
import numpy.typing as npt

from lakesight.media.view import Placement
from lakesight.models.nms import greedy

Boxes = npt.NDArray[np.floating]
"""`(N, 5)`."""
Floats = npt.NDArray[np.float64]


def prob_iou(first_xywhr: Boxes, second_xywhr: Boxes) -> Floats:
    """Return `(N, M)` ProbIoU of every pair, in 0..1 (arXiv:2106.06072).

    A box is the normal distribution with its centre and the covariance of the uniform distribution
    on it; the overlap is one minus the Hellinger distance. 0 where a box is empty.
    """
    (xx1, yy1, xy1), (xx2, yy2, xy2) = covariance(first_xywhr), covariance(second_xywhr)
    xx, yy, xy = (a[:, None] + b[None] for a, b in ((xx1, xx2), (yy1, yy2), (xy1, xy2)))
    dx, dy = np.moveaxis(first_xywhr[:, None, :2] - second_xywhr[None, :, :2], 2, 0)
    dets = (xx1 * yy1 - xy1**2)[:, None] * (xx2 * yy2 - xy2**2)[None]
    det = xx * yy - xy**2
    solid = (dets > 0) & (det > 0)
    det = np.where(solid, det, 1.0)
    apart = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / det / 4
    unlike = np.log(det / 4 / np.sqrt(np.where(solid, dets, 1.0))) / 2
    hellinger = np.sqrt(-np.expm1(-np.maximum(apart + unlike, 0)))
    return np.asarray(np.where(solid, 1 - hellinger, 0.0))


def covariance(boxes_xywhr: Boxes) -> tuple[Floats, Floats, Floats]:
    """Return the variances in x and in y and the covariance of the uniform distribution, `(N,)`."""
    width, height, angle = boxes_xywhr[:, 2:].astype(np.float64).T
    along, across = width**2 / 12, height**2 / 12
    cos, sin = np.cos(angle), np.sin(angle)
    return (
        along * cos**2 + across * sin**2,
        along * sin**2 + across * cos**2,
        (along - across) * cos * sin,
    )


def rotated_nms(
    boxes_xywhr: Boxes,
    scores: npt.NDArray[np.float32],
    class_ids: npt.NDArray[np.int32],
    threshold: float,
    max_kept: int,
) -> npt.NDArray[np.intp]:
    """Return the indices of the boxes to keep, by falling score; see `nms.nms`, with ProbIoU."""
    return greedy(
        scores,
        class_ids,
        lambda some, others: prob_iou(boxes_xywhr[some], boxes_xywhr[others]),
        threshold,
        max_kept,
    )


def corners(boxes_xywhr: Boxes) -> Floats:
    """Return the `(N, 4, 2)` corners, going round from x to y."""
    boxes = boxes_xywhr.astype(np.float64)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along = boxes[:, 2:3] / 2 * np.stack([cos, sin], 1)
    across = boxes[:, 3:4] / 2 * np.stack([-sin, cos], 1)
    offsets = [-along - across, along - across, along + across, across - along]
    return np.asarray(boxes[:, None, :2] + np.stack(offsets, 1))


def upright(boxes_xywhr: Boxes) -> Floats:
    """Return the `(N, 4)` xyxy boxes around them."""
    points = corners(boxes_xywhr)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def to_original(boxes_xywhr: Boxes, placement: Placement) -> Floats:
    """Return the boxes in an original's pixels, from its view's.

    Exact where both axes have one scale, as in a letterbox; where they differ, a rectangle would
    be a parallelogram, and each side keeps its own true length, the width its direction.
    """
    boxes = boxes_xywhr.astype(np.float64)
    scale = np.array([placement.scale_x, placement.scale_y])
    centres = (boxes[:, :2] - (placement.offset_x, placement.offset_y)) / scale
    direction = np.stack([np.cos(boxes[:, 4]), np.sin(boxes[:, 4])], 1) / scale
    normal = np.stack([-np.sin(boxes[:, 4]), np.cos(boxes[:, 4])], 1) / scale
    width = boxes[:, 2] * np.linalg.norm(direction, axis=1)
    height = boxes[:, 3] * np.linalg.norm(normal, axis=1)
    angle = np.arctan2(direction[:, 1], direction[:, 0])
    angle = (angle + np.pi / 4) % np.pi - np.pi / 4  # half a turn changes no rectangle
    return np.column_stack([centres, width, height, angle])
