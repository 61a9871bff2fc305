"""Labelled pictures, whatever they were labelled in: `coco`, `yolo_text` and `folders` open them.

Labels are checked whole when they are opened, and that their pictures are there: what is wrong is
said with its place, never skipped. Pixels are read later: a picture that cannot be read then, or
has not the size that its labels say, is the same kind of error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from lakesight.errors import UserError
from lakesight.lake.globs import IMAGE_SUFFIXES
from lakesight.media.decode import MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.orientation import read_orientation, swaps_sides
from lakesight.media.view import ImageView
from lakesight.models.yolo import architecture
from lakesight.training.yolo.flips import FlipIndices
from lakesight.training.yolo.sample import Floats, InstanceMap, Sample
from lakesight.training.yolo.shapes import drawn

Task = architecture.Task
Split = Literal["train", "val", "test"]
MAX_SIDE = 640
"""Side in pixels at which larger pictures are read, where a network does not see more."""


class Dataset(Protocol):
    """Labelled pictures by number."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes by id."""
        ...

    def __len__(self) -> int:
        """Return how many pictures there are."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Return one picture with its truth."""
        ...


@dataclass(frozen=True)
class Labelled:
    """One picture's file and its truth, before the picture is read."""

    path: Path
    size_wh: tuple[int, int]
    boxes_xyxy: Floats
    class_ids: npt.NDArray[np.int64]
    shapes: tuple[Any, ...] = ()
    """Per object its mask: polygons (lists of x, y, x, y, ...) or a COCO RLE."""
    keypoints: Floats | None = None
    quads: Floats | None = None
    areas: npt.NDArray[np.float64] | None = None
    """Per object in pixels, where the data says so: what is small or large, and how far a keypoint
    may be off, goes by it in place of the area of the shape."""
    crowd: "Labelled | None" = None
    """Regions of many objects (COCO's `iscrowd`): nothing is learnt of them, and whoever finds
    something there is neither right nor wrong."""
    uri: str | None = None
    """Where the picture is from, where `path` is a copy of it."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What kinds the picture is of, by name, beside its folder: `evaluate --slice NAME`."""

    def read(self, task: Task, max_side: int) -> Sample:
        """Return the sample with what the task needs, reduced to `max_side` pixels a side."""
        width, height = self.size_wh
        scale = min(1.0, max_side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        factors: Floats = (np.array(size) / self.size_wh).astype(np.float32)
        instances = drawn(self.shapes, self.size_wh) if task == "segment" else None
        return Sample(
            image=self._pixels(size),
            boxes_xyxy=self.boxes_xyxy * np.tile(factors, 2),
            class_ids=self.class_ids,
            instances=None if instances is None else _reduced(instances, size),
            keypoints=self._scaled_keypoints(factors) if task == "pose" else None,
            quads=self._scaled_quads(factors) if task == "obb" else None,
        )

    def _pixels(self, size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the picture `(H, W, 3)` at this size; a JPEG is decoded at a reduced scale."""
        view = ImageView(width=size_wh[0], height=size_wh[1], fit="squash", interpolation="area")
        try:
            decoded = decode(self.path.read_bytes(), [view], Limits())
        except (OSError, MediaError) as error:
            raise UserError(f"cannot read the training picture {self.path}: {error}") from error
        self.check_size((decoded.width, decoded.height), str(self.path))
        return decoded.views[0]

    def check_size(self, size_wh: tuple[int, int], name: str) -> None:
        """Raise UserError unless a picture, upright, has the size that its labels are for."""
        if size_wh != self.size_wh:
            raise UserError(
                f"{name} is {size_wh[0]} x {size_wh[1]} pixels upright, its labels say "
                f"{self.size_wh[0]} x {self.size_wh[1]}: label it again, or turn the file upright"
            )

    def _scaled_quads(self, factors: Floats) -> Floats:
        """Return the corners; of a picture without objects, none."""
        return np.zeros((0, 4, 2), np.float32) if self.quads is None else self.quads * factors

    def _scaled_keypoints(self, factors: Floats) -> Floats | None:
        if self.keypoints is None:
            return None
        return self.keypoints * np.append(factors, np.float32(1))


@dataclass(frozen=True)
class Pictures:
    """A dataset of labelled files."""

    labels: tuple[str, ...]
    pictures: Sequence[Labelled]
    task: Task
    max_side: int = MAX_SIDE
    """Larger pictures are read at this size; what a network is to see must be no larger."""
    flip_indices: FlipIndices | None = None
    """Of the keypoints; None where nobody knows."""
    keypoint_names: tuple[str, ...] | None = None
    """Where they are known, and of all classes the same."""
    keypoints_by_place: bool = False
    """Which keypoint is the first depends on how an object lies, as of scenes: a picture that is
    turned or sheared would have them in another order."""
    multi_label: bool = False
    """Classify only: a picture may have any number of the classes, else it has one."""

    def __post_init__(self) -> None:
        """Raise UserError for class names that are empty or alike, and for other keypoints."""
        if nameless := [id_ for id_, name in enumerate(self.labels) if not name.strip()]:
            raise UserError(
                f"class {nameless[0]} has an empty name: found and labelled classes are matched by "
                "name, so give it one"
            )
        if twice := [name for name, count in Counter(self.labels).items() if count > 1]:
            raise UserError(
                f"two classes are called {twice[0]!r}: found and labelled classes are matched by "
                "name, so give each its own"
            )
        for one in self.pictures if self.task == "pose" else ():
            if one.keypoints is not None and one.keypoints.shape[1] != self.num_keypoints:
                raise UserError(
                    f"an object on {one.path} has {one.keypoints.shape[1]} keypoints, others have "
                    f"{self.num_keypoints}: give all of them the same points"
                )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        sample = self.pictures[index].read(self.task, self.max_side)
        if self.task != "pose":
            return sample
        none = np.zeros((0, self.num_keypoints, 3), np.float32)
        keypoints = none if sample.keypoints is None else sample.keypoints
        return replace(sample, keypoints=keypoints, flip_indices=self.flip_indices)

    def empty_classes(self) -> list[str]:
        """Return the names of the classes of which there is nothing on any picture."""
        found = {int(id_) for one in self.pictures for id_ in one.class_ids}
        return [label for id_, label in enumerate(self.labels) if id_ not in found]

    @cached_property
    def num_keypoints(self) -> int:
        """Of an object: a picture without objects has as many of none."""
        found = (one.keypoints.shape[1] for one in self.pictures if one.keypoints is not None)
        return next(found, 0)


def image_files(folder: Path) -> list[Path]:
    """Return the pictures below a folder, by name."""
    suffixes = {f".{each}" for each in IMAGE_SUFFIXES.split()}
    return sorted(each for each in folder.rglob("*") if each.suffix.lower() in suffixes)


def size_of(path: Path) -> tuple[int, int]:
    """Return a picture's upright width and height, from its header; UserError where it has none."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            turned = swaps_sides(read_orientation(opened))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the training picture {path}: {error}") from error
    return (height, width) if turned else (width, height)


def _reduced(instances: InstanceMap, size_wh: tuple[int, int]) -> InstanceMap:
    return np.asarray(cv2.resize(instances, size_wh, interpolation=cv2.INTER_NEAREST), np.uint16)
