"""Class-aware non-maximum suppression, vectorised."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]
"""`(N, 4)` as `(x_min, y_min, x_max, y_max)`."""
Indices = npt.NDArray[np.intp]
Overlaps = Callable[[int, Indices], npt.NDArray[np.floating]]
"""From the index of one box and `(M,)` indices of others to `(M,)` overlaps."""


def iou_matrix(first_xyxy: Boxes, second_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Return the intersection over union of every pair, `(N, M)`; 0 where both are empty."""
    corner_low = np.maximum(first_xyxy[:, None, :2], second_xyxy[None, :, :2])
    corner_high = np.minimum(first_xyxy[:, None, 2:], second_xyxy[None, :, 2:])
    overlap = np.prod(np.clip(corner_high - corner_low, 0, None), axis=2)
    union = area(first_xyxy)[:, None] + area(second_xyxy)[None, :] - overlap
    ratio: npt.NDArray[np.float32] = np.zeros_like(overlap)
    np.divide(overlap, union, out=ratio, where=union > 0)
    return ratio


def area(boxes_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Return the areas, `(N,)`; 0 for a box turned inside out."""
    sides = np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1])


def nms(
    boxes_xyxy: Boxes,
    scores: npt.NDArray[np.float32],
    class_ids: npt.NDArray[np.int32],
    iou_threshold: float,
    max_kept: int,
) -> npt.NDArray[np.intp]:
    """Return the indices of the boxes to keep, by falling score, at most `max_kept`.

    A box goes when a kept box of its class overlaps it by more than `iou_threshold`. Equal scores
    keep their order.
    """
    return greedy(
        scores,
        class_ids,
        lambda one, others: iou_matrix(boxes_xyxy[one : one + 1], boxes_xyxy[others])[0],
        iou_threshold,
        max_kept,
    )


def greedy(
    scores: npt.NDArray[np.float32],
    class_ids: npt.NDArray[np.int32],
    overlaps: Overlaps,
    threshold: float,
    max_kept: int,
) -> Indices:
    """Return what `nms` does, for boxes of any form.

    One vectorised row of overlaps per kept box: O(kept * N).
    """
    order = np.argsort(-scores, kind="stable")
    classes = class_ids[order]
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    candidate = 0
    while candidate < len(order) and len(kept) < max_kept:
        kept.append(candidate)
        rest = np.flatnonzero(alive[candidate + 1 :]) + candidate + 1
        rest = rest[classes[rest] == classes[candidate]]
        alive[rest[overlaps(int(order[candidate]), order[rest]) > threshold]] = False
        later = np.flatnonzero(alive[candidate + 1 :])
        candidate = candidate + 1 + int(later[0]) if len(later) else len(order)
    return np.asarray(order[kept], dtype=np.intp)
