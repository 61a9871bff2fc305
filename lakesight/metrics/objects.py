"""What is on a picture and what a model found on it: the two inputs of every detection metric."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError

Task = Literal["box", "mask", "keypoints", "rotated"]
TASKS: tuple[Task, ...] = get_args(Task)
Key = str | int
"""What names a picture: its file name, uri or id."""

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.object_]
"""`(N,)` RLEs, see `lakesight.masks`."""

NO_IDS: Ids = np.zeros(0, np.int64)
NO_SCORES: Floats = np.zeros(0)
NO_FLAGS: Flags = np.zeros(0, bool)


@dataclass(frozen=True)
class Objects:
    """N objects of one picture. Give the shapes that the task needs; the others may stay None.

    Lists are taken for arrays. UserError where lengths differ, a number is not finite, or a box
    ends before it starts.
    """

    picture: Key
    class_ids: Ids
    """`(N,)`, from 0 on."""
    boxes_xyxy: Floats | None = None
    """`(N, 4)` x_min, y_min, x_max, y_max in pixels."""
    masks: Masks | None = None
    """N RLEs of the whole picture, as `lakesight.masks.encode` gives them."""
    keypoints: Floats | None = None
    """`(N, K, 3)` x, y in pixels, and 2 visible, 1 hidden, 0 not labelled (found: unused)."""
    boxes_xywhr: Floats | None = None
    """`(N, 5)` rotated boxes: centre x, y, width, height in pixels, angle in radians from the x
    axis towards the y axis."""
    areas: Floats | None = None
    """`(N,)` in pixels, for small, medium and large; by default of the shape that the task
    compares; for keypoints of the box, or where there is none, of what bounds the keypoints."""

    def __post_init__(self) -> None:
        self._set("class_ids", self._ids())
        self._set("boxes_xyxy", self._shaped("boxes_xyxy", 4))
        self._set("boxes_xywhr", self._shaped("boxes_xywhr", 5))
        self._set("keypoints", self._shaped("keypoints", None, 3))
        self._set("areas", self._shaped("areas"))
        self._set("masks", self._rles())
        if self.boxes_xyxy is not None and (self.boxes_xyxy[:, 2:] < self.boxes_xyxy[:, :2]).any():
            raise self.error("a box ends before it starts: boxes are x_min, y_min, x_max, y_max")
        if self.boxes_xywhr is not None and (self.boxes_xywhr[:, 2:4] < 0).any():
            raise self.error("a rotated box has a width or height below 0")

    def __len__(self) -> int:
        return len(self.class_ids)

    def error(self, message: str) -> UserError:
        """Return a UserError that names the picture."""
        return UserError(f"picture {self.picture!r}: {message}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _ids(self) -> Ids:
        ids = np.asarray(self.class_ids)
        if ids.ndim != 1:
            raise self.error(f"class_ids must have the shape (N,), but got {ids.shape}")
        if ids.size and (not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0):
            raise self.error(f"class_ids must be integers from 0 on, but got {ids[:5].tolist()}")
        return ids.astype(np.int64)

    def _shaped(self, name: str, *sides: int | None) -> Floats | None:
        """Return a field as finite float64 `(N, *sides)`, where None stands for any length."""
        if getattr(self, name) is None:
            return None
        array = np.asarray(getattr(self, name), np.float64)
        if array.size == 0 and len(self) == 0:
            return np.zeros((0, *(side or 0 for side in sides)))
        wanted = (len(self), *sides)
        if len(wanted) != array.ndim or any(
            want not in (None, got) for want, got in zip(wanted, array.shape, strict=True)
        ):
            shape = str(wanted).replace("None", "K")
            raise self.error(f"{name} must have the shape {shape}, but got {array.shape}")
        if not np.isfinite(array).all():
            raise self.error(f"{name} must be finite, but a number is NaN or infinite")
        return array

    def _rles(self) -> Masks | None:
        if self.masks is None:
            return None
        if len(self.masks) != len(self):
            raise self.error(f"{len(self)} objects need as many masks, but got {len(self.masks)}")
        array = np.empty(len(self), object)
        array[:] = list(self.masks)
        return array


@dataclass(frozen=True)
class Truth(Objects):
    """What is on a picture."""

    crowd: Flags = field(default_factory=lambda: NO_FLAGS)
    """`(N,)`, COCO's `iscrowd`; by default none is. A region of many objects, in which any number
    of detections may lie (by the part of their own area that does), and which need not be found."""
    ignored: Flags = field(default_factory=lambda: NO_FLAGS)
    """`(N,)`, by default none. An object that need not be found: who finds it is neither right nor
    wrong. A crowd is ignored, and for keypoints an object without a labelled point."""
    slices: Mapping[str, str] = field(default_factory=dict)
    """What kinds the picture is of, such as `{"camera": "3"}`: see `DetectionEvaluator.slices`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("crowd", self._flags("crowd"))
        self._set("ignored", self._flags("ignored"))

    def _flags(self, name: str) -> Flags:
        flags: Flags = np.asarray(getattr(self, name), bool)
        if flags.size == 0:
            return np.zeros(len(self), bool)
        if flags.shape != (len(self),):
            raise self.error(f"{name} must have the shape ({len(self)},), but got {flags.shape}")
        return flags


@dataclass(frozen=True)
class Predictions(Objects):
    """What a model found on a picture, in any order; of equal scores the earlier one is better."""

    scores: Floats = field(default_factory=lambda: NO_SCORES)
    """`(N,)` confidences, finite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("scores", self._shaped("scores"))

    @classmethod
    def nothing(cls, picture: Key) -> "Predictions":
        """Return what a model predicts that looked at a picture and found nothing."""
        return cls(picture, NO_IDS)


def shapes(objects: Objects, task: Task) -> npt.NDArray[Any]:
    """Return what a task compares, `(N, …)`; UserError where it was not given."""
    name = {"box": "boxes_xyxy", "mask": "masks", "rotated": "boxes_xywhr"}.get(task, task)
    values: npt.NDArray[Any] | None = getattr(objects, name)
    if values is None:
        raise objects.error(f"the task {task!r} compares {name}, but the objects have none")
    return values
