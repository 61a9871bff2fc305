"""One picture and what is on it, for training: the form that every dataset gives."""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from lakesight.models.base import Image
from lakesight.models.rotated import corners
from lakesight.training.yolo.flips import FlipIndices

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
InstanceMap = npt.NDArray[np.uint16]


def _no_boxes() -> Floats:
    return np.zeros((0, 4), np.float32)


def _no_ids() -> Ids:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Sample:
    """A picture `(H, W, 3)` uint8 RGB with N objects; coordinates are its pixels.

    What a task does not need is None.
    """

    image: Image
    boxes_xyxy: Floats = field(default_factory=_no_boxes)
    """`(N, 4)`."""
    class_ids: Ids = field(default_factory=_no_ids)
    """`(N,)`; of a classified picture, its one class, or several."""
    instances: InstanceMap | None = None
    """`(H, W)`: 0 where there is nothing, else one more than the number of the object there."""
    keypoints: Floats | None = None
    """`(N, K, 3)`: x, y, and 2 visible, 1 hidden, 0 not there."""
    quads: Floats | None = None
    """`(N, 4, 2)`: corners of the rotated boxes, going round."""
    flip_indices: FlipIndices | None = None
    """Of the keypoints; without them a picture with keypoints is not mirrored."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.image.shape[:2]
        return width, height

    def __len__(self) -> int:
        return len(self.class_ids)

    def take(self, kept: npt.NDArray[np.intp]) -> Self:
        """Return the sample with the chosen objects only, in the order of `kept`."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[kept],
            class_ids=self.class_ids[kept],
            instances=None if self.instances is None else renumbered(self.instances, kept),
            keypoints=None if self.keypoints is None else self.keypoints[kept],
            quads=None if self.quads is None else self.quads[kept],
        )


def renumbered(instances: InstanceMap, kept: npt.NDArray[np.intp]) -> InstanceMap:
    """Return the map with object `kept[i]` as number i; other objects become nothing."""
    numbers = np.zeros(max(int(instances.max(initial=0)), int(kept.max(initial=-1)) + 1) + 1)
    numbers = numbers.astype(np.uint16)
    numbers[kept + 1] = np.arange(1, len(kept) + 1)
    return np.asarray(numbers[instances])


def quads_to_xywhr(quads: Floats) -> Floats:
    """Return `(N, 5)` rotated boxes from the corners `(N, 4, 2)` of rectangles, going round.

    Centre x, y, width, height in pixels, angle in radians in -pi/4..3pi/4: the one convention of
    training; the long side is not necessarily the width.
    """
    first, second = quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 1]
    width, height = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    angle = np.arctan2(first[:, 1], first[:, 0])
    turns = np.floor((angle + np.pi / 4) / np.pi)
    angle = angle - turns * np.pi  # a rectangle is itself after half a turn
    return np.stack([*quads.mean(1).T, width, height, angle], axis=1).astype(np.float32)


def xywhr_to_quads(xywhr: Floats) -> Floats:
    """Return the corners `(N, 4, 2)`, going round, of rotated boxes `(N, 5)`."""
    return corners(xywhr).astype(np.float32)
