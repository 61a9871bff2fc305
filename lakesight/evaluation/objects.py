"""Judging boxes, masks, keypoints and rotated boxes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.labels import Labels, lengths, null_notes
from lakesight.evaluation.result import Evaluation, by_kind
from lakesight.evaluation.truth import truth_of
from lakesight.metrics import COCO_SIGMAS, Bootstrap, DetectionEvaluator, predictions_from_table
from lakesight.metrics.objects import Task as Shape
from lakesight.metrics.rules import keypoint_sigmas
from lakesight.training.yolo.datasets import Labelled, Pictures, Task

SHAPES: dict[Task, tuple[Shape, ...]] = {
    "detect": ("box",),
    "segment": ("box", "mask"),
    "pose": ("box", "keypoints"),
    "obb": ("rotated",),
}
"""What of an object is compared with its truth."""

FIELDS: dict[Task, str] = {"obb": "obb", "segment": "mask", "pose": "keypoints", "detect": "box"}
"""The field of a found object that holds it, beside `box`; the first that is there tells the task.
"""


class ObjectJudge:
    """Judges boxes, masks, keypoints or rotated boxes.

    Classes are matched by name: of those that the dataset lacks nothing counts.
    """

    def __init__(self, dataset: Pictures) -> None:
        """Raise UserError for poses without a keypoint: nobody knows how many there should be."""
        self._task = dataset.task
        self._classes = dataset.labels
        self._num_keypoints = dataset.num_keypoints
        if dataset.task == "pose" and not self._num_keypoints:
            raise UserError(
                f"there are no keypoints on the {len(dataset):,} pictures to compare with: give "
                "some whose objects have keypoints"
            )
        sigmas = keypoint_sigmas(self._num_keypoints) if self._num_keypoints else COCO_SIGMAS
        self.evaluators = {
            shape: DetectionEvaluator(dataset.labels, shape, sigmas=sigmas)
            for shape in SHAPES[dataset.task]
        }
        self.labels = Labels(dataset.labels)
        self.num_null = 0

    def update(self, pictures: Sequence[Labelled], found: pa.Array) -> None:
        """See `Judge`; a null is a picture on which nothing was found."""
        self.num_null += found.null_count
        self.labels.add(found)
        truths = [truth_of(one, self._task) for one in pictures]
        names = pa.array([one.picture for one in truths], pa.string())
        needed = _needed(found, FIELDS[self._task])
        table = pa.table({"uri": names, "detections": needed})
        predictions = predictions_from_table(table, self._classes, unknown="drop")
        if self._task == "pose":
            self._check_keypoints(one.keypoints for one in predictions)
        for evaluator in self.evaluators.values():
            evaluator.update(truths, predictions)

    def merge(self, other: "ObjectJudge") -> None:
        """See `Judge`."""
        for shape, evaluator in self.evaluators.items():
            evaluator.merge(other.evaluators[shape])
        self.labels.merge(other.labels)
        self.num_null += other.num_null

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """See `Judge`; UserError where nothing that was found is of a class of the dataset."""
        judges = self.evaluators.items()
        return Evaluation(
            {shape: one.result(bootstrap) for shape, one in judges},
            {
                name: by_kind({shape: one.slices(name, bootstrap) for shape, one in judges})
                for name in slices
            },
            (*self.labels.notes("objects"), *null_notes(self.num_null, "nothing found")),
        )

    def _check_keypoints(self, found: Iterable[Any]) -> None:
        for points in found:
            if points is not None and len(points) and points.shape[1] != self._num_keypoints:
                raise UserError(
                    f"{points.shape[1]} keypoints were found of an object, but the labels have "
                    f"{self._num_keypoints}: they are not the same points"
                )


def _needed(found: pa.Array, field: str) -> pa.Array:
    """Return the objects that have such a field, and of them what is compared.

    A pose model of persons gives other objects no keypoints.
    """
    objects = found.flatten()
    names = dict.fromkeys(["label", "score", "box", field])
    kind = pa.struct([objects.type.field(name) for name in names])
    values = pa.StructArray.from_arrays([objects.field(name) for name in names], fields=list(kind))
    there = objects.field(field).is_valid()
    rows = np.repeat(np.arange(len(found)), lengths(found))[there.to_numpy(zero_copy_only=False)]
    ends = np.cumsum(np.bincount(rows, minlength=len(found)))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values.filter(there), type=pa.list_(kind))
