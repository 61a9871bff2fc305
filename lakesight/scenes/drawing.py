"""A drawn picture and its truth, read off what was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lakesight.masks import Mask
from lakesight.scenes.background import Light, photograph
from lakesight.scenes.figure import Figure, RotatedBox
from lakesight.scenes.paint import Pixels
from lakesight.scenes.raster import Instances, Stamp, paint_over
from lakesight.scenes.shapes import LABELS

NUM_KEYPOINTS = 8
"""Slots for the keypoints of every class; what a class does not need has visibility 0."""

MIN_VISIBLE = 0.25
"""An object that shows less of itself is not in the truth, and in a picture not there at all."""

MIN_VISIBLE_PX = 32
"""Nor is one that shows fewer pixels."""

HIDDEN, VISIBLE = 1, 2
"""COCO's visibility of a keypoint; 0 stands for one that is not in the picture."""


@dataclass(frozen=True, eq=False)
class SceneObject:
    """What is true of one object of a picture."""

    instance_id: int
    """Its value in `Drawing.instances`: 1 is the lowest; in a video this is its identity."""
    label: str
    colour: str
    texture: str
    box_xyxy: tuple[int, int, int, int]
    """The tight box around its visible pixels, their far edges included."""
    rotated_box: RotatedBox
    """Around the whole shape, hidden parts included: see `Figure.rotated_box`."""
    keypoints: npt.NDArray[np.float32]
    """`(8, 3)`: x, y, visibility (2 visible, 1 hidden by another shape, 0 not there)."""
    area_px: int
    """Its visible pixels."""
    visible_fraction: float
    """Its visible pixels over all that the whole shape covers."""

    @property
    def class_id(self) -> int:
        """Its place in `LABELS`."""
        return LABELS.index(self.label)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of its box."""
        x_min, y_min, x_max, y_max = self.box_xyxy
        return (x_min + x_max) / 2, (y_min + y_max) / 2


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pixels and the objects in them."""

    pixels: npt.NDArray[np.uint8]
    """`(H, W, 3)` RGB."""
    instances: Instances
    """`(H, W)`: `instance_id` of what is on top, 0 for the background."""
    objects: tuple[SceneObject, ...]

    def mask(self, found: SceneObject) -> Mask:
        """Return the visible pixels of one object, `(H, W)`."""
        return np.equal(self.instances, found.instance_id)


def stack(stamps: Sequence[Stamp], height: int, width: int) -> Instances:
    """Return what is on top of each pixel: 0, or the place of a stamp counted from 1."""
    instances = np.zeros((height, width), dtype=np.uint8)
    for number, stamp in enumerate(stamps, start=1):
        lay_on(instances, stamp, number)
    return instances


def lay_on(instances: Instances, stamp: Stamp, number: int) -> None:
    """Put a stamp on top."""
    part = stamp.clipped(*instances.shape)
    instances[part.window][part.solid] = number


def draw(
    rng: np.random.Generator,
    backdrop: Pixels,
    light: Light,
    figures: Sequence[Figure],
    stamps: Sequence[Stamp],
) -> Drawing:
    """Paint figures on a backdrop `(H, W, 3)`, the first one lowest, and tell what can be seen."""
    picture = backdrop.copy()
    for figure, stamp in zip(figures, stamps, strict=True):
        paint_over(picture, figure, stamp)
    instances = stack(stamps, *picture.shape[:2])
    objects = observe(figures, stamps, instances)
    return Drawing(photograph(rng, picture, light), instances, objects)


def observe(
    figures: Sequence[Figure], stamps: Sequence[Stamp], instances: Instances
) -> tuple[SceneObject, ...]:
    """Return the objects that can be seen well enough, from the bottom to the top."""
    visible_px = np.bincount(instances.ravel(), minlength=len(figures) + 1).tolist()
    return tuple(
        _describe(number, figure, stamp, instances)
        for number, (figure, stamp) in enumerate(zip(figures, stamps, strict=True), start=1)
        if visible_px[number] >= least_visible_px(stamp)
    )


def least_visible_px(stamp: Stamp) -> float:
    """Return how many pixels of a shape must show for it to be in the truth."""
    return max(MIN_VISIBLE * np.count_nonzero(stamp.solid), MIN_VISIBLE_PX)


def _describe(number: int, figure: Figure, stamp: Stamp, instances: Instances) -> SceneObject:
    part = stamp.clipped(*instances.shape)
    visible = instances[part.window] == number
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    top, left = part.window[0].start, part.window[1].start
    area_px = int(np.count_nonzero(visible))
    return SceneObject(
        instance_id=number,
        label=figure.label,
        colour=figure.paint.colour,
        texture=figure.paint.texture,
        box_xyxy=(
            left + int(columns[0]),
            top + int(rows[0]),
            left + int(columns[-1]) + 1,
            top + int(rows[-1]) + 1,
        ),
        rotated_box=figure.rotated_box(),
        keypoints=_keypoints(number, figure, instances),
        area_px=area_px,
        visible_fraction=area_px / int(np.count_nonzero(stamp.solid)),
    )


def _keypoints(number: int, figure: Figure, instances: Instances) -> npt.NDArray[np.float32]:
    height, width = instances.shape
    slots = np.zeros((NUM_KEYPOINTS, 3), dtype=np.float32)
    for slot, (x, y) in zip(slots, figure.keypoints(), strict=False):
        column, row = int(np.floor(x)), int(np.floor(y))
        if 0 <= column < width and 0 <= row < height:
            slot[:] = x, y, HIDDEN if instances[row, column] > number else VISIBLE
    return slots
