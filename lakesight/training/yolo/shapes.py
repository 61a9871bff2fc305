"""Boxes, rotated boxes, keypoints and masks of a picture, checked against it; masks, drawn.

What reaches out of its picture by `MAX_OUTSIDE_PX` at most is cut, what reaches further is an error
with its place. A rotated box goes around the whole of its object, also around what the border of
the picture cuts off: of it `MIN_INSIDE` must lie in the picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight import masks
from lakesight.errors import UserError
from lakesight.metrics.rotated import intersection
from lakesight.polygons import encode_segmentation
from lakesight.training.yolo.sample import Floats, InstanceMap, quads_to_xywhr, xywhr_to_quads

Size = tuple[int, int]
"""Width and height of a picture in pixels."""

MAX_OUTSIDE_PX = 2.0
"""What is labelled may reach so far out of its picture, as rounding leaves it; it is cut."""
MIN_INSIDE = 0.05
"""So much of a rotated box lies in its picture: of a shape, a quarter shows in every scene."""
MIN_FILLED, FILLED = 0.6, 0.999
"""Four corners that fill less of the smallest rectangle around them are no rotated box; those that
fill it so far are that rectangle."""


def checked_boxes(boxes_xyxy: Floats, size_wh: Size, where: str) -> Floats:
    """Return boxes cut to their picture; UserError where one is empty, outside, or no numbers.

    Here as below, what is wrong is named by its number, counted from 1.
    """
    inside = np.clip(boxes_xyxy, 0, size_wh * 2)
    empty = ~(inside[:, 2:] > inside[:, :2]).all(1)  # NaN is not larger than anything
    reaches_out = outside(boxes_xyxy.reshape(-1, 2, 2), size_wh).any(1)
    if bad := np.flatnonzero(empty | reaches_out).tolist():
        raise UserError(
            f"{where}: box {bad[0] + 1} is {boxes_xyxy[bad[0]].tolist()} (left, top, right, "
            f"bottom) in {_picture(size_wh)}: it is empty or reaches outside; correct it"
        )
    return np.asarray(inside, np.float32)


def checked_quads(quads: Floats, size_wh: Size, where: str) -> Floats:
    """Return the corners `(N, 4, 2)` of rectangles, from what nearly are some.

    UserError where corners are far from a rectangle's, go across instead of round, or where one is
    empty or lies outside of its picture.
    """
    boxes = quads_to_xywhr(quads).astype(np.float64)
    areas = boxes[:, 2] * boxes[:, 3]
    solid = np.maximum(areas, 1e-9)
    picture = np.array([size_wh[0] / 2, size_wh[1] / 2, *size_wh, 0.0])
    inside = intersection(boxes, np.tile(picture, (len(boxes), 1))) / solid
    if bad := np.flatnonzero(~(areas > 0) | ~(inside >= MIN_INSIDE)).tolist():
        raise UserError(
            f"{where}: rotated box {bad[0] + 1} has the corners {quads[bad[0]].round(1).tolist()} "
            f"in {_picture(size_wh)}: it is empty or lies outside; correct it"
        )
    filled = _areas(quads) / solid
    if bad := np.flatnonzero(filled < MIN_FILLED).tolist():
        raise UserError(
            f"{where}: rotated box {bad[0] + 1} has the corners {quads[bad[0]].round(1).tolist()}, "
            f"which fill {filled[bad[0]]:.0%} of the smallest rectangle around them: give the four "
            "corners of a rectangle, going round"
        )
    is_one = (filled >= FILLED)[:, None, None]
    return np.where(is_one, quads, xywhr_to_quads(boxes.astype(np.float32))).astype(np.float32)


def around(quads: Floats, size_wh: Size) -> Floats:
    """Return the upright boxes `(N, 4)` around rotated ones, cut to the picture."""
    boxes = np.concatenate([quads.min(1), quads.max(1)], axis=1)
    return np.asarray(np.clip(boxes, 0, size_wh * 2), np.float32)


def checked_keypoints(keypoints: Floats, size_wh: Size, where: str) -> Floats:
    """Return keypoints `(N, K, 3)` cut to their picture.

    UserError where one that is there lies outside, or is neither visible (2), hidden (1) nor not
    there (0). Where it is not there, its place does not matter.
    """
    seen = keypoints[..., 2]
    if (strange := ~np.isin(seen, (0, 1, 2))).any():
        raise UserError(
            f"{where}: a keypoint has the visibility {seen[strange][0]:g}: 2 is visible, 1 hidden, "
            "0 not there"
        )
    there = seen > 0
    if len(bad := np.argwhere(there & outside(keypoints[..., :2], size_wh))):
        number, point = bad[0].tolist()
        raise UserError(
            f"{where}: keypoint {point + 1} of object {number + 1} is at "
            f"{keypoints[number, point, :2].tolist()} in {_picture(size_wh)}: it is outside; "
            "correct it, or say that it is not there (visibility 0)"
        )
    places = np.where(there[..., None], np.clip(keypoints[..., :2], 0, size_wh), keypoints[..., :2])
    return np.concatenate([places, seen[..., None]], axis=-1).astype(np.float32)


def checked_mask(shape: Any, size_wh: Size, where: str) -> Any:
    """Return a mask, polygons or run lengths, that can be drawn; UserError for another one."""
    if isinstance(shape, Mapping):
        _check_runs(shape, size_wh, where)
        return shape
    rings = _rings(shape, where)
    if any(outside(ring, size_wh).any() for ring in rings):
        raise UserError(f"{where}: a mask reaches out of {_picture(size_wh)}: correct it")
    if not any(_areas(ring[None]).any() for ring in rings):
        raise UserError(f"{where}: a mask of {str(shape)[:80]} encloses nothing: correct it")
    return shape


def outside(points: npt.NDArray[Any], size_wh: Size) -> npt.NDArray[np.bool_]:
    """Return which points `(..., 2)` are too far outside, or no numbers."""
    return np.asarray(~(np.maximum(-points, points - np.array(size_wh)) <= MAX_OUTSIDE_PX).all(-1))


def drawn(shapes: Sequence[Any], size_wh: Size) -> InstanceMap:
    """Return the map of instances `(H, W)`; of two that overlap, the smaller is on top.

    A mask has the pixels that COCO gives it, as in an evaluation.
    """
    width, height = size_wh
    found = [masks.decode(encode_segmentation(shape, height, width)) for shape in shapes]
    order = sorted(range(len(found)), key=lambda number: -int(found[number].sum()))
    instances = np.zeros((height, width), np.uint16)
    for number in order:
        instances[found[number]] = number + 1
    return instances


def _picture(size_wh: Size) -> str:
    return f"a picture of {size_wh[0]} x {size_wh[1]}"


def _areas(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the areas `(N,)` of polygons `(N, V, 2)`, by the shoelace formula."""
    x, y = np.moveaxis(points.astype(np.float64) - points[:, :1], -1, 0)
    twice = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    return np.asarray(np.abs(twice) / 2)


def _rings(shape: Any, where: str) -> list[npt.NDArray[np.float64]]:
    """Return the polygons of a mask, each `(V, 2)`."""
    try:
        rings = [np.array(ring, np.float64) for ring in shape]
        is_whole = all(
            ring.ndim == 1 and len(ring) >= 6 and len(ring) % 2 == 0 and np.isfinite(ring).all()
            for ring in rings
        )
    except (TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"a mask of {where} must be polygons [[x0, y0, x1, y1, x2, y2, …], …] of three points "
            f"or more, or run lengths, but got {str(shape)[:80]}"
        )
    return [ring.reshape(-1, 2) for ring in rings]


def _check_runs(shape: Mapping[str, Any], size_wh: Size, where: str) -> None:
    """Raise UserError unless run lengths fill the picture, some of them with the object."""
    size = [size_wh[1], size_wh[0]]
    if "counts" not in shape or list(shape.get("size", ())) != size:
        raise UserError(
            f"a mask of {where} must have `counts`, and the `size` {size} of its picture, but got "
            f"{shape.get('size')}"
        )
    try:
        given = shape["counts"]
        counts = masks.decompress(given) if isinstance(given, str) else np.array(given, np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"a mask of {where} has no run lengths that can be read: {error}"
        ) from error
    if counts.ndim != 1 or (counts < 0).any() or counts.sum() != size[0] * size[1]:
        raise UserError(f"a mask of {where} has run lengths that do not fill {size} pixels")
    if not counts[1::2].any():
        raise UserError(f"{where}: a mask is empty: correct it, or leave the object out")
