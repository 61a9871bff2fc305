"""How well each detection fits each truth: IoU of boxes, masks and rotated boxes, and OKS."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lakesight.metrics.gather import Gathered
from lakesight.metrics.mask_iou import foreground, intersections, over_union
from lakesight.metrics.objects import Flags, Floats, Ids
from lakesight.metrics.rotated import intersection
from lakesight.metrics.rules import Rules

Indices = npt.NDArray[np.intp]

CHUNK = 1 << 17
"""Pairs that are looked at at once: bounds the memory of a picture full of objects."""


@dataclass(frozen=True)
class Pairs:
    """P detections beside P truths of their picture, by detection, then by truth."""

    found: Indices
    truth: Indices
    overlap: Floats
    """`(P,)`, 0..1."""

    def take(self, kept: npt.NDArray[np.intp] | Flags) -> "Pairs":
        """Return the chosen pairs."""
        return Pairs(self.found[kept], self.truth[kept], self.overlap[kept])


def overlapping(
    found: Gathered, truth: Gathered, found_groups: Ids, truth_groups: Ids, rules: Rules
) -> Pairs:
    """Return the pairs of equal groups that share anything; groups rise."""
    rows, columns = same_group(found_groups, truth_groups)
    parts = [
        _overlap(found, truth, rows[start : start + CHUNK], columns[start : start + CHUNK], rules)
        for start in range(0, len(rows), CHUNK)
    ]
    overlap = np.concatenate([np.zeros(0), *parts])
    return Pairs(rows, columns, overlap).take(overlap > 0)


def same_group(found_groups: Ids, truth_groups: Ids) -> tuple[Indices, Indices]:
    """Return the indices of every pair of one group; both arrays rise."""
    first = np.searchsorted(truth_groups, found_groups, side="left")
    count = np.searchsorted(truth_groups, found_groups, side="right") - first
    rows = np.repeat(np.arange(len(found_groups)), count)
    before = np.cumsum(count) - count
    columns = np.arange(len(rows)) + np.repeat(first - before, count)
    return rows, columns


def _overlap(
    found: Gathered, truth: Gathered, rows: Indices, columns: Indices, rules: Rules
) -> Floats:
    if rules.task == "keypoints":
        return _keypoint_similarity(found, truth, rows, columns, np.array(rules.sigmas))
    if rules.task == "mask":
        return _mask_overlap(found, truth, rows, columns)
    a, b = found.shapes[rows], truth.shapes[columns]
    if rules.task == "rotated":
        shared, a_area, b_area = intersection(a, b), a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    else:
        shared, a_area, b_area = _shared_box(a, b), _box_area(a), _box_area(b)
    return over_union(shared, a_area, b_area, truth.crowd[columns])


def _mask_overlap(found: Gathered, truth: Gathered, rows: Indices, columns: Indices) -> Floats:
    used, row = np.unique(rows, return_inverse=True)
    needed, column = np.unique(columns, return_inverse=True)
    masks, true = list(found.shapes[used]), list(truth.shapes[needed])
    shared = intersections(masks, true, row, column)
    areas = foreground(masks)[row], foreground(true)[column]
    return over_union(shared, *areas, truth.crowd[columns])


def _shared_box(a_xyxy: Floats, b_xyxy: Floats) -> Floats:
    low = np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    high = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _box_area(xyxy: Floats) -> Floats:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))


def _keypoint_similarity(
    found: Gathered, truth: Gathered, rows: Indices, columns: Indices, sigmas: Floats
) -> Floats:
    """Return COCO's object keypoint similarity (cocodataset.org, keypoints-eval).

    A truth without a labelled point is compared by how far points lie outside its box at twice its
    size; without a box, nothing is similar to it.
    """
    points, true = found.shapes[rows][:, :, :2], truth.shapes[columns]
    labelled: Flags = np.asarray(true[:, :, 2] > 0)  # (P, K)
    blank = np.asarray(~labelled.any(axis=1))
    offset = points - true[:, :, :2]
    if blank.any():
        offset[blank] = _outside(points[blank], truth.boxes_xyxy[columns[blank]])
        labelled = labelled | blank[:, None]
    squared = (offset**2).sum(axis=2)
    spread = (2 * sigmas) ** 2
    area = truth.areas[columns] + np.spacing(1.0)
    similar = np.exp(-(squared / spread / area[:, None] / 2)) * labelled
    return np.asarray(np.nan_to_num(similar.sum(axis=1) / labelled.sum(axis=1)))


def _outside(points: Floats, boxes_xyxy: Floats) -> Floats:
    """Return how far points `(P, K, 2)` lie outside boxes `(P, 4)` that are grown by their size."""
    low, high = boxes_xyxy[:, None, :2], boxes_xyxy[:, None, 2:]
    size = high - low
    return np.maximum(low - size - points, 0) + np.maximum(points - (high + size), 0)
