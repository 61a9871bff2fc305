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

SAME = 1.01
"""Rectangles around one quadrilateral whose areas differ by less are taken for as small."""


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
    """Return `(N, 5)` rotated boxes: the smallest around corners `(N, 4, 2)`, going round.

    Centre x, y, width, height in pixels, angle in radians in -pi/4..3pi/4: the one convention of
    training; the long side is not necessarily the width. The smallest rectangle around a convex
    polygon lies along one of its sides (Freeman and Shapira, CACM 1975): along the first one, where
    the corners are a rectangle's.
    """
    corners_n4 = quads.astype(np.float64)
    sides = np.roll(corners_n4, -1, axis=1) - corners_n4
    lengths = np.linalg.norm(sides, axis=2)
    along = sides / np.maximum(lengths, 1e-12)[..., None]  # (N, 4, 2)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    low_u, high_u = _extent(corners_n4, along)
    low_v, high_v = _extent(corners_n4, across)
    areas = np.where(lengths > 0, (high_u - low_u) * (high_v - low_v), np.inf)
    best = (areas <= SAME * areas.min(1, keepdims=True)).argmax(1)
    rows = np.arange(len(quads))
    u, v = ((low_u + high_u) / 2)[rows, best], ((low_v + high_v) / 2)[rows, best]
    along, across = along[rows, best], across[rows, best]
    centres = u[:, None] * along + v[:, None] * across
    angle = np.arctan2(along[:, 1], along[:, 0])
    angle -= np.floor((angle + np.pi / 4) / np.pi) * np.pi  # half a turn changes no rectangle
    width, height = (high_u - low_u)[rows, best], (high_v - low_v)[rows, best]
    return np.stack([*centres.T, width, height, angle], axis=1).astype(np.float32)


def _extent(
    corners_n4: npt.NDArray[np.float64], directions: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return where corners begin and end `(N, 4)` along each of four directions `(N, 4, 2)`."""
    places = directions @ corners_n4.transpose(0, 2, 1)  # (N, directions, corners)
    return places.min(2), places.max(2)


def xywhr_to_quads(xywhr: Floats) -> Floats:
    """Return the corners `(N, 4, 2)`, going round, of rotated boxes `(N, 5)`."""
    return corners(xywhr).astype(np.float32)
