"""Changes to a training picture that leave its meaning, each with the truth moved along.

Every one is a function of samples and a random generator, so that a seed gives the same pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from lakesight.models.base import Frozen, Image
from lakesight.training.yolo.sample import Floats, InstanceMap, Sample

Matrix = npt.NDArray[np.float64]
GREY = 114
"""What the picture is filled up with."""

MIN_SIDE, MIN_AREA_LEFT, MAX_ASPECT = 2.0, 0.1, 100.0
"""An object that is smaller, has less of itself left, or is thinner after a change is dropped."""

Draw = Callable[[], Sample]
"""Gives another sample of the dataset, at random."""


class Augmentation(Frozen):
    """How training pictures are changed; chances are 0..1, and 0 switches off."""

    mosaic: float = Field(default=1.0, ge=0, le=1)
    """Chance to put four pictures into one (arXiv:2004.10934)."""
    mixup: float = Field(default=0.0, ge=0, le=1)
    """Chance to lay another picture over it, half seen through (arXiv:1710.09412)."""
    copy_paste: float = Field(default=0.0, ge=0, le=1)
    """Chance to paste the objects of another picture by their masks (arXiv:2012.07177); for
    segment only, as other tasks have no masks."""
    hue: float = Field(default=0.015, ge=0, le=0.5)
    """Largest turn of the hue, as a part of the circle."""
    saturation: float = Field(default=0.7, ge=0, le=1)
    """Largest relative change of the saturation."""
    value: float = Field(default=0.4, ge=0, le=1)
    """Largest relative change of the brightness."""
    degrees: float = Field(default=0.0, ge=0, le=180)
    """Largest rotation."""
    translate: float = Field(default=0.1, ge=0, le=0.9)
    """Largest shift, as a part of the picture's side."""
    scale: float = Field(default=0.5, ge=0, lt=1)
    """Largest relative change of size."""
    shear: float = Field(default=0.0, ge=0, le=45)
    """Largest shear in degrees."""
    flip_horizontal: float = Field(default=0.5, ge=0, le=1)
    """Chance to mirror left and right; with keypoints only where their pairs are known."""
    flip_vertical: float = Field(default=0.0, ge=0, le=1)
    """Chance to mirror top and bottom; the same holds."""


def augmented(
    sample: Sample,
    draw: Draw,
    side: int,
    config: Augmentation,
    rng: np.random.Generator,
    *,
    mosaic: bool = True,
) -> Sample:
    """Return a sample of `(side, side)` pixels made of one or several others.

    `mosaic=False` closes mosaic, mixup and copy-paste, as the last epochs of a training do.
    """
    if mosaic and rng.random() < config.mosaic:
        sample = _mosaic([sample, draw(), draw(), draw()], side, rng)
        sample = affine(sample, side, _random_matrix(sample.size_wh, side, config, rng))
    else:
        sample = letterboxed(sample, side)
        sample = affine(sample, side, _random_matrix(sample.size_wh, side, config, rng))
    if mosaic and rng.random() < config.copy_paste:
        sample = pasted(sample, letterboxed(draw(), side))
    if mosaic and rng.random() < config.mixup:
        sample = mixed(sample, letterboxed(draw(), side), rng.beta(32, 32))
    sample = replace(sample, image=_colours(sample.image, config, rng))
    if rng.random() < config.flip_horizontal:
        sample = mirrored(sample, side, np.array([[-1.0, 0, side], [0, 1, 0], [0, 0, 1]]))
    if rng.random() < config.flip_vertical:
        sample = mirrored(sample, side, np.array([[1.0, 0, 0], [0, -1, side], [0, 0, 1]]))
    return sample


def classified(sample: Sample, side: int, config: Augmentation, rng: np.random.Generator) -> Sample:
    """Return a random cut of a classified picture, at `(side, side)` pixels (arXiv:1409.4842)."""
    width, height = sample.size_wh
    area = rng.uniform(max(0.08, 1 - config.scale), 1) * width * height
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    cut_w = min(width, max(1, round(float(np.sqrt(area * aspect)))))
    cut_h = min(height, max(1, round(float(np.sqrt(area / aspect)))))
    left, top = rng.integers(width - cut_w + 1), rng.integers(height - cut_h + 1)
    image = sample.image[top : top + cut_h, left : left + cut_w]
    small = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    image = _colours(small, config, rng)
    if rng.random() < config.flip_horizontal:
        image = image[:, ::-1]
    return replace(sample, image=np.ascontiguousarray(image))


def letterboxed(sample: Sample, side: int) -> Sample:
    """Return the whole picture, scaled and centred in a square of `side` pixels."""
    width, height = sample.size_wh
    scale = side / max(width, height)
    shift = (side - scale * width) / 2, (side - scale * height) / 2
    return affine(sample, side, np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]]))


def affine(sample: Sample, side: int, matrix: Matrix) -> Sample:
    """Return what a square of `side` pixels shows after an affine map `(3, 3)` of points.

    (0, 0) is the corner of the picture, and (0.5, 0.5) the middle of its first pixel.
    """
    image = cv2.warpAffine(sample.image, _of_pixels(matrix), (side, side), borderValue=(GREY,) * 3)
    moved = replace(
        sample,
        image=np.asarray(image, np.uint8),
        boxes_xyxy=_moved_boxes(sample.boxes_xyxy, matrix),
        instances=_moved_map(sample.instances, side, matrix),
        keypoints=_moved_keypoints(sample.keypoints, side, matrix),
        quads=None if sample.quads is None else _moved_points(sample.quads, matrix),
    )
    return _clipped(moved, side)


def mirrored(sample: Sample, side: int, matrix: Matrix) -> Sample:
    """Return the mirror image: there a left eye is a right eye.

    Where nobody says what becomes of its keypoints, the sample is returned as it is.
    """
    if sample.keypoints is None:
        return affine(sample, side, matrix)
    if sample.flip_indices is None:
        return sample
    moved = affine(sample, side, matrix)
    assert moved.keypoints is not None
    return replace(moved, keypoints=moved.keypoints[:, list(sample.flip_indices)])


def mixed(one: Sample, other: Sample, share: float) -> Sample:
    """Return two pictures of one size laid over each other, with the objects of both."""
    image = (one.image * share + other.image * (1 - share)).astype(np.uint8)
    return replace(joined(one, other), image=image)


def pasted(sample: Sample, other: Sample) -> Sample:
    """Return the picture with the objects of another of its size on top, cut out by their masks.

    Without masks, nothing is pasted.
    """
    if sample.instances is None or other.instances is None or not len(other):
        return sample
    over = other.instances > 0
    image = np.where(over[..., None], other.image, sample.image)
    both = joined(sample, other)
    return _without_covered(replace(both, image=image), sample.instances)


def joined(one: Sample, other: Sample) -> Sample:
    """Return one picture with the objects of both; where both have one, the other's is on top."""
    return replace(
        one,
        boxes_xyxy=np.concatenate([one.boxes_xyxy, other.boxes_xyxy]),
        class_ids=np.concatenate([one.class_ids, other.class_ids]),
        instances=_joined_maps(one.instances, other.instances, len(one)),
        keypoints=_joined(one.keypoints, other.keypoints),
        quads=_joined(one.quads, other.quads),
    )


def _mosaic(samples: Sequence[Sample], side: int, rng: np.random.Generator) -> Sample:
    """Return four pictures around a random centre, on a square of twice the side."""
    centre = rng.uniform(0.5, 1.5, 2) * side
    canvas = None
    for number, sample in enumerate(samples):
        width, height = sample.size_wh
        scale = side / max(width, height)
        left = centre[0] - (scale * width if number % 2 == 0 else 0)
        top = centre[1] - (scale * height if number < 2 else 0)
        placed = affine(
            sample, 2 * side, np.array([[scale, 0, left], [0, scale, top], [0, 0, 1.0]])
        )
        if canvas is None:
            canvas = placed
            continue
        box = np.round([left, top, left + scale * width, top + scale * height]).astype(int)
        low_x, low_y, high_x, high_y = np.clip(box, 0, 2 * side)
        image = canvas.image.copy()
        image[low_y:high_y, low_x:high_x] = placed.image[low_y:high_y, low_x:high_x]
        canvas = replace(joined(canvas, placed), image=image)
    assert canvas is not None
    return canvas


def _random_matrix(
    size_wh: tuple[int, int], side: int, config: Augmentation, rng: np.random.Generator
) -> Matrix:
    """Return a map that turns, scales, shears and shifts about the middle."""
    angle = np.deg2rad(rng.uniform(-config.degrees, config.degrees))
    scale = rng.uniform(1 - config.scale, 1 + config.scale)
    shear_x, shear_y = np.tan(np.deg2rad(rng.uniform(-config.shear, config.shear, 2)))
    shift = rng.uniform(0.5 - config.translate, 0.5 + config.translate, 2) * side
    to_middle = np.array([[1, 0, -size_wh[0] / 2], [0, 1, -size_wh[1] / 2], [0, 0, 1]])
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    lean = np.array([[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]])
    away = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    return np.asarray(away @ lean @ turn @ to_middle)


def _of_pixels(matrix: Matrix) -> Matrix:
    """Return the same map `(2, 3)` of pixels' numbers: OpenCV counts from their middles."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray((np.linalg.inv(half) @ matrix @ half)[:2])


def _moved_points(points: Floats, matrix: Matrix) -> Floats:
    """Return points `(..., 2)` after the map."""
    moved = points @ matrix[:2, :2].T + matrix[:2, 2]
    return np.asarray(moved, np.float32)


def _moved_boxes(boxes: Floats, matrix: Matrix) -> Floats:
    """Return the boxes `(N, 4)` around the moved corners of boxes."""
    x = boxes[:, [0, 2, 2, 0]]
    y = boxes[:, [1, 1, 3, 3]]
    moved = _moved_points(np.stack([x, y], axis=-1), matrix)  # (N, 4, 2)
    return np.concatenate([moved.min(1), moved.max(1)], axis=1) if len(boxes) else boxes


def _moved_map(instances: InstanceMap | None, side: int, matrix: Matrix) -> InstanceMap | None:
    if instances is None:
        return None
    size = (side, side)
    moved = cv2.warpAffine(instances, _of_pixels(matrix), size, flags=cv2.INTER_NEAREST)
    return np.asarray(moved, np.uint16)


def _moved_keypoints(keypoints: Floats | None, side: int, matrix: Matrix) -> Floats | None:
    """Return the points after the map; what leaves the picture is not there any more."""
    if keypoints is None:
        return None
    points = _moved_points(keypoints[..., :2], matrix)
    inside = ((points >= 0) & (points <= side)).all(-1)
    there = np.where(inside, keypoints[..., 2], 0)
    return np.concatenate([points, there[..., None]], axis=-1).astype(np.float32)


def _clipped(sample: Sample, side: int) -> Sample:
    """Return the sample with its boxes cut to the picture, without objects that are hardly left."""
    boxes = np.clip(sample.boxes_xyxy, 0, side)
    before, after = _sides(sample.boxes_xyxy), _sides(boxes)
    left = after.prod(1) / np.maximum(before.prod(1), 1e-9)
    aspect = after.max(1, initial=0) / np.maximum(after.min(1, initial=np.inf), 1e-9)
    kept = (after > MIN_SIDE).all(1) & (left > MIN_AREA_LEFT) & (aspect < MAX_ASPECT)
    return replace(sample, boxes_xyxy=boxes).take(np.flatnonzero(kept))


def _sides(boxes: Floats) -> Floats:
    return np.asarray(boxes[:, 2:] - boxes[:, :2], np.float32)


def _without_covered(sample: Sample, before: InstanceMap) -> Sample:
    """Drop the objects of which pasting has left too little."""
    assert sample.instances is not None
    count = len(sample) + 1
    was = np.bincount(before.ravel(), minlength=count)[1:]
    now = np.bincount(sample.instances.ravel(), minlength=count)[1:]
    return sample.take(np.flatnonzero(now > 0.3 * was))


def _joined_maps(
    one: InstanceMap | None, other: InstanceMap | None, shift: int
) -> InstanceMap | None:
    if one is None or other is None:
        return None
    return np.where(other > 0, other + np.uint16(shift), one).astype(np.uint16)


def _joined(one: Floats | None, other: Floats | None) -> Floats | None:
    return None if one is None or other is None else np.concatenate([one, other])


def _colours(image: Image, config: Augmentation, rng: np.random.Generator) -> Image:
    """Return the picture with its hue turned and its saturation and brightness scaled."""
    turn, saturation, value = rng.uniform(-1, 1, 3) * (config.hue, config.saturation, config.value)
    levels = np.arange(256)
    hue, kept, bright = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    tables = (
        ((levels + turn * 180) % 180).astype(np.uint8),
        np.clip(levels * (1 + saturation), 0, 255).astype(np.uint8),
        np.clip(levels * (1 + value), 0, 255).astype(np.uint8),
    )
    channels = [
        cv2.LUT(part, table) for part, table in zip((hue, kept, bright), tables, strict=True)
    ]
    return np.asarray(cv2.cvtColor(cv2.merge(channels), cv2.COLOR_HSV2RGB))
