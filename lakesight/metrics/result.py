"""The figures of an evaluation of detections: as numbers, as JSON and as a text table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lakesight.metrics.bootstrap import Intervals
from lakesight.metrics.confusion import Confusion
from lakesight.metrics.curves import Curves, Operating
from lakesight.metrics.objects import Task
from lakesight.metrics.text import aligned


@dataclass(frozen=True)
class SizeResult:
    """The figures of objects of one range of areas; NaN where there are none."""

    ap: float
    recall: float
    num_truth: int


@dataclass(frozen=True)
class ClassResult:
    """The figures of one class; NaN where it has no truth."""

    label: str
    num_truth: int
    num_found: int
    ap: float
    """Mean over IoU 0.50:0.05:0.95."""
    ap50: float
    ap75: float
    recall: float
    """Mean over the same, of the most detections a picture may have."""
    ap_by_size: Mapping[str, float]
    best: Operating
    """At the confidence of the best F1."""


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """How well a detector found what is there; COCO's figures, NaN where nothing is to be found."""

    task: Task
    num_pictures: int
    num_truth: int
    """Objects that had to be found."""
    num_found: int
    """Detections that were judged: of each class on each picture the best."""
    map: float
    """AP, the mean over classes and IoU 0.50:0.05:0.95."""
    map50: float
    map75: float
    recall: Mapping[int, float]
    """AR by the number of detections of a class that a picture may have."""
    recall50: float
    recall75: float
    sizes: Mapping[str, SizeResult]
    """Of small, medium and large objects."""
    classes: tuple[ClassResult, ...]
    curves: Curves
    confusion: Confusion
    intervals: Intervals | None = None
    """Where a `Bootstrap` was given."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes by id."""
        return tuple(one.label for one in self.classes)

    def coco_stats(self) -> list[float]:
        """Return COCO's own list: 12 numbers, of keypoints 10; -1 where nothing is to be found."""
        small, medium, large = self.sizes.values()
        means = [self.map, self.map50, self.map75]
        most = self.recall[max(self.recall)]
        if self.task == "keypoints":
            stats = [*means, medium.ap, large.ap, most, self.recall50, self.recall75]
            stats += [medium.recall, large.recall]
        else:
            stats = [*means, small.ap, medium.ap, large.ap, *self.recall.values()]
            stats += [small.recall, medium.recall, large.recall]
        return [-1.0 if np.isnan(value) else value for value in stats]

    def to_dict(self, *, curves: bool = False) -> dict[str, Any]:
        """Return what `json.dumps` takes, NaN as None; the long curves on demand."""
        figures = {
            "task": self.task,
            "num_pictures": self.num_pictures,
            "num_truth": self.num_truth,
            "num_found": self.num_found,
            "map": self.map,
            "map50": self.map50,
            "map75": self.map75,
            "recall": {str(most): value for most, value in self.recall.items()},
            "recall50": self.recall50,
            "recall75": self.recall75,
            "best_confidence": self.curves.best_confidence,
            "sizes": {name: vars(size) for name, size in self.sizes.items()},
            "classes": [{**vars(one), "best": vars(one.best)} for one in self.classes],
            "confusion": self.confusion.to_dict(),
        }
        plain: dict[str, Any] = without_nan(figures)
        plain["intervals"] = self.intervals and self.intervals.to_dict()
        return plain | ({"curves": self.curves.to_dict()} if curves else {})

    def table(self) -> str:
        """Return the figures as plain text, one line per class."""
        most = self.recall[max(self.recall)]
        means = (self.map, self.map50, self.map75, most)
        rows: list[tuple[str | float, ...]] = [
            ("", "AP", "AP50", "AP75", "AR", "objects", "best F1", "at score"),
            ("all", *means, self.num_truth, "", self.curves.best_confidence),
        ]
        for name, size in self.sizes.items():
            rows.append((name, size.ap, "", "", size.recall, size.num_truth))
        rows.append(("",))
        for one in self.classes:
            figures = (one.ap, one.ap50, one.ap75, one.recall, one.num_truth)
            rows.append((one.label, *figures, one.best.f1, one.best.confidence))
        counts = (self.num_pictures, self.num_truth, self.num_found)
        title = "{}: {:,} pictures, {:,} objects, {:,} found".format(self.task, *counts)
        return "\n".join([title, "", *aligned(rows), *self._interval_lines()])

    def _interval_lines(self) -> list[str]:
        if not self.intervals:
            return []
        level = f"{100 * self.intervals.bootstrap.level:g} % intervals"
        overall = {"AP": self.intervals.map, "AP50": self.intervals.map50}
        overall["AP75"] = self.intervals.map75
        ends = (f"{name} {one.low:.3f} to {one.high:.3f}" for name, one in overall.items())
        return ["", f"{level}: {', '.join(ends)}"]


def without_nan(value: Any) -> Any:
    """Return the same with None for NaN, and tuples as lists."""
    if isinstance(value, Mapping):
        return {name: without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
