"""By what rules detections are judged: COCO's thresholds, areas and limits."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.objects import TASKS, Task

Floats = npt.NDArray[np.float64]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
"""0.50:0.05:0.95; the first is that of AP50, number 5 that of AP75."""
AT_50, AT_75 = 0, 5

RECALL_POINTS: Floats = np.linspace(0, 1, 101)

AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Least and largest area of a truth that counts, in pixels, both included."""
ALL = 0

COCO_SIGMAS = tuple(
    thousandths / 1000
    for thousandths in (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
)
"""Of COCO's 17 keypoints of a person, nose to ankles (cocodataset.org, keypoints-eval)."""


def keypoint_sigmas(count: int) -> tuple[float, ...]:
    """Return the OKS constants of `count` keypoints, as parts of the object's size.

    COCO's for its 17 of a person. Nobody has measured those of any others: each is 1 / count then,
    as YOLO trainers usually have it.
    """
    return COCO_SIGMAS if count == len(COCO_SIGMAS) else (1 / count,) * count


MAX_DETECTIONS: dict[Task, tuple[int, ...]] = {
    "box": (1, 10, 100),
    "mask": (1, 10, 100),
    "rotated": (1, 10, 100),
    "keypoints": (20,),
}
"""Of each class on each picture the best so many detections are judged."""


@dataclass(frozen=True)
class Rules:
    """What an evaluator compares, and how; two that are to be merged must agree."""

    labels: tuple[str, ...]
    """Names of the classes by id."""
    task: Task = "box"
    sigmas: tuple[float, ...] = COCO_SIGMAS
    """Of each keypoint: how far apart people place it, as a part of the object's size."""
    max_detections: tuple[int, ...] = (1, 10, 100)
    """Rising; the last is the limit, the others have a recall of their own."""
    confusion_iou: float = 0.5
    """Overlap from which the confusion matrix takes two objects for one."""
    confusion_confidence: float = 0.25
    """Detections that score less are not in the confusion matrix."""

    def checked(self) -> Self:
        """Return the rules; UserError where they cannot be followed."""
        if self.task not in TASKS:
            raise UserError(f"task must be one of {', '.join(TASKS)}, but got {self.task!r}")
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise UserError(f"labels must be different names, one or more, but got {self.labels}")
        if list(self.max_detections) != sorted(set(self.max_detections)):
            raise UserError(f"max_detections must rise, but got {self.max_detections}")
        if not self.max_detections or self.max_detections[0] < 1:
            raise UserError(f"max_detections must be 1 or more, but got {self.max_detections}")
        if not self.sigmas or min(self.sigmas) <= 0:
            raise UserError(f"sigmas must be above 0, one per keypoint, but got {self.sigmas}")
        return self
