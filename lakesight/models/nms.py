"""Class-aware non-maximum suppression, vectorised."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]
"""`(N, 4)` as `(x_min, y_min, x_max, y_max)`."""
Indices = npt.NDArray[np.intp]
Overlaps = Callable[[Indices, Indices], npt.NDArray[np.floating]]
"""From the indices of N boxes and of M to the `(N, M)` overlaps of all pairs."""

BLOCK = 256
"""Boxes that are compared at once: a matrix of this side fits the cache."""


def iou_matrix(first_xyxy: Boxes, second_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Return the intersection over union of every pair, `(N, M)`; 0 where both are empty."""
    corner_low = np.maximum(first_xyxy[:, None, :2], second_xyxy[None, :, :2])
    corner_high = np.minimum(first_xyxy[:, None, 2:], second_xyxy[None, :, 2:])
    sides = np.clip(corner_high - corner_low, 0, None)
    overlap = sides[..., 0] * sides[..., 1]
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
        lambda some, others: iou_matrix(boxes_xyxy[some], boxes_xyxy[others]),
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

    Block by block in the order of scores: first against what is kept, then among themselves.
    O(kept * N), in a few vectorised steps a block.
    """

    def rivals(some: Indices, others: Indices) -> npt.NDArray[np.bool_]:
        same_class = class_ids[some][:, None] == class_ids[others]
        return np.asarray(same_class & (overlaps(some, others) > threshold))

    order = np.argsort(-scores, kind="stable")
    kept = order[:0]
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        if len(kept):
            block = block[~rivals(kept, block).any(axis=0)]
        kept = np.concatenate([kept, block[_first_come(rivals(block, block))]])
        if len(kept) >= max_kept:
            break
    return kept[:max_kept]


def _first_come(rivals: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which of `(N,)` stay, where each that stays ends its later rivals `(N, N)`."""
    ends = np.triu(rivals, 1)
    stays = np.ones(len(ends), bool)
    for one in np.flatnonzero(ends.any(axis=1)):
        if stays[one]:
            stays &= ~ends[one]
    return stays
