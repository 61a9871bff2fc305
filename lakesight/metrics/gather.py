"""Many pictures' objects as a few long arrays, so that all of them are matched at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.mask_iou import foreground, runs
from lakesight.metrics.objects import Flags, Floats, Ids, Objects, Predictions, Task, Truth, shapes
from lakesight.metrics.rules import Rules

SHAPES: dict[Task, tuple[int, ...]] = {
    "box": (0, 4),
    "mask": (0,),
    "keypoints": (0, 0, 3),
    "rotated": (0, 5),
}
"""Of what each task compares, where there is nothing."""


@dataclass(frozen=True)
class Gathered:
    """N objects of many pictures, by picture and class; detections then by falling score."""

    pictures: Ids
    """`(N,)` number of the picture."""
    class_ids: Ids
    shapes: npt.NDArray[Any]
    """`(N, …)` what the task compares; for masks `(N,)` arrays of run lengths."""
    areas: Floats
    boxes_xyxy: Floats
    """`(N, 4)`; NaN where the object has none."""
    scores: Floats
    """Of a truth 0."""
    crowd: Flags
    ignored: Flags

    def __len__(self) -> int:
        return len(self.class_ids)

    def take(self, kept: npt.NDArray[np.intp]) -> "Gathered":
        """Return the chosen objects, in the order of `kept`."""
        return Gathered(**{name: values[kept] for name, values in vars(self).items()})

    def groups(self, num_classes: int) -> Ids:
        """Return `(N,)` one number for each picture and class."""
        return self.pictures * num_classes + self.class_ids

    def ranks(self, num_classes: int) -> Ids:
        """Return `(N,)` places among the objects of the same picture and class, from 0 on."""
        groups = self.groups(num_classes)
        return np.arange(len(self)) - np.searchsorted(groups, groups)


def gather_truth(truths: Sequence[Truth], rules: Rules) -> Gathered:
    """Return the truth of pictures 0, 1, …, by picture and class."""
    gathered = _gathered(truths, rules.task)
    crowd = np.concatenate([truth.crowd for truth in truths])
    ignored = np.concatenate([truth.ignored for truth in truths]) | crowd
    if rules.task == "keypoints":
        ignored |= ~(gathered.shapes[:, :, 2] > 0).any(axis=1)
    gathered = replace(gathered, crowd=crowd, ignored=ignored)
    return gathered.take(np.argsort(gathered.groups(len(rules.labels)), kind="stable"))


def gather_found(predictions: Sequence[Predictions], rules: Rules) -> Gathered:
    """Return the best detections of pictures 0, 1, …, by picture, class and falling score."""
    gathered = _gathered(predictions, rules.task)
    scores = np.concatenate([found.scores for found in predictions])
    gathered = replace(gathered, scores=scores)
    gathered = gathered.take(np.lexsort((-scores, gathered.groups(len(rules.labels)))))
    ranks = gathered.ranks(len(rules.labels))
    return gathered.take(np.flatnonzero(ranks < rules.max_detections[-1]))


def _gathered(objects: Sequence[Objects], task: Task) -> Gathered:
    """Return the objects one after the other, with what truth and detections share."""
    sizes = [len(one) for one in objects]
    count = sum(sizes)
    compared, boxes = _compared(objects, task), _boxes(objects)
    return Gathered(
        pictures=np.repeat(np.arange(len(objects)), sizes),
        class_ids=np.concatenate([one.class_ids for one in objects]),
        shapes=compared,
        areas=_areas(objects, sizes, _own_areas(task, compared, boxes)),
        boxes_xyxy=boxes,
        scores=np.zeros(count),
        crowd=np.zeros(count, bool),
        ignored=np.zeros(count, bool),
    )


def _compared(objects: Sequence[Objects], task: Task) -> npt.NDArray[Any]:
    """Return what the task compares, `(N, …)`."""
    parts = [shapes(one, task) for one in objects if len(one)]
    if not parts:
        return np.zeros(SHAPES[task], object if task == "mask" else np.float64)
    if task == "mask":
        return _mask_runs(objects)
    return np.concatenate(parts)


def _mask_runs(objects: Sequence[Objects]) -> npt.NDArray[Any]:
    """Return `(N,)` arrays of run lengths; UserError names the picture of an RLE that is none."""
    read = []
    for one in objects:
        try:
            read += [runs(rle) for rle in shapes(one, "mask")] if len(one) else []
        except UserError as error:
            raise one.error(str(error)) from None
    compared = np.empty(len(read), object)
    for number, counts in enumerate(read):  # at once, numpy would make a table of equal lengths
        compared[number] = counts
    return compared


def _boxes(objects: Sequence[Objects]) -> Floats:
    """Return upright boxes `(N, 4)`, NaN where none are given."""
    nowhere = np.full((1, 4), np.nan)
    return np.concatenate(
        [
            nowhere.repeat(len(one), axis=0) if one.boxes_xyxy is None else one.boxes_xyxy
            for one in objects
        ]
    )


def _own_areas(task: Task, compared: npt.NDArray[Any], boxes: Floats) -> Floats:
    """Return the areas of the shapes themselves; of keypoints those of the boxes."""
    if task == "mask":
        return foreground(list(compared))
    if task == "rotated":
        return np.asarray(compared[:, 2] * compared[:, 3])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    if task == "keypoints" and len(compared):
        extent = np.ptp(compared[:, :, :2], axis=1)
        areas = np.where(np.isnan(areas), extent[:, 0] * extent[:, 1], areas)
    return np.asarray(areas)


def _areas(objects: Sequence[Objects], sizes: Sequence[int], own: Floats) -> Floats:
    """Return the areas that the caller gave, else those of the shapes."""
    if all(one.areas is None for one in objects):
        return own
    parts = np.split(own, np.cumsum(sizes)[:-1])
    return np.concatenate(
        [part if one.areas is None else one.areas for one, part in zip(objects, parts, strict=True)]
    )
