"""From decoded tensors to objects in the pixels of the original: numpy, no loop over anchors.

Shapes: C classes, E values after the scores (see `outputs.Decoded`), A anchors, N objects.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from lakesight import masks
from lakesight.media.view import ImageView, Placement
from lakesight.models.detection import Found, NmsOptions, clipped
from lakesight.models.nms import nms
from lakesight.models.rotated import rotated_nms, to_original, upright
from lakesight.models.yolo_onnx import corners

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

CELL = 4
"""Pixels of the view that a prototype's cell is wide and high."""


class Candidates(NamedTuple):
    """What a picture's anchors say, in view pixels."""

    boxes: Floats
    """`(N, 4)` centres and sizes."""
    scores: Floats
    class_ids: npt.NDArray[np.int32]
    extras: Floats
    """`(N, E)`."""

    def take(self, indices: Indices) -> "Candidates":
        """Return the chosen ones, in the order of `indices`."""
        return Candidates(
            self.boxes[indices], self.scores[indices], self.class_ids[indices], self.extras[indices]
        )

    @property
    def rotated(self) -> Floats:
        """`(N, 5)` boxes of an obb network: centre, size, angle."""
        return np.concatenate([self.boxes, self.extras], axis=1)


def candidates(predictions: Floats, num_classes: int, threshold: float) -> Candidates:
    """Return the anchors of `(4 + C + E, A)` whose likeliest class reaches the threshold.

    An anchor is at most one object.
    """
    scores = predictions[4 : 4 + num_classes]
    best = scores.max(axis=0)
    seen = np.flatnonzero(best >= threshold)
    class_ids = scores[:, seen].argmax(axis=0).astype(np.int32)
    chosen = predictions[:, seen].T
    return Candidates(chosen[:, :4], best[seen], class_ids, chosen[:, 4 + num_classes :])


def suppressed(found: Candidates, options: NmsOptions) -> Candidates:
    """Return what class-aware NMS leaves, by falling score."""
    limits = options.iou_threshold, options.max_detections
    return found.take(nms(corners(found.boxes), found.scores, found.class_ids, *limits))


def rotated_suppressed(found: Candidates, options: NmsOptions) -> Candidates:
    """Return what class-aware NMS leaves, by falling score; overlap is ProbIoU, below plain IoU."""
    limits = options.iou_threshold, options.max_detections
    return found.take(rotated_nms(found.rotated, found.scores, found.class_ids, *limits))


def in_original(
    found: Candidates, view: ImageView, width: int, height: int
) -> tuple[Found, Indices]:
    """Return the objects in an original's pixels, and which of the candidates they are.

    Boxes are clipped to the original, `width` by `height`; those outside it are left out.
    """
    boxes_xyxy, seen = clipped(corners(found.boxes), view, width, height)
    return Found(boxes_xyxy, found.scores[seen], found.class_ids[seen]), seen


def rotated_in_original(
    found: Candidates, view: ImageView, width: int, height: int
) -> tuple[Found, Floats]:
    """Return the objects, each with the upright box around it, and `(N, 5)` rotated boxes.

    Upright boxes are clipped to the original, rotated ones are whole.
    """
    boxes_xyxy, seen = clipped(upright(found.rotated), view, width, height)
    rotated = to_original(found.rotated[seen], view.place(width, height)).astype(np.float32)
    return Found(boxes_xyxy, found.scores[seen], found.class_ids[seen]), rotated


def keypoints(values: Floats, num_dims: int, view: ImageView, width: int, height: int) -> Floats:
    """Return `(N, K, 3)` as x, y in an original's pixels and score, of `(N, K * num_dims)`.

    Points may lie outside the picture. A network of 2 values gives no scores: they are 1.
    """
    place = view.place(width, height)
    points = values.reshape(len(values), values.shape[1] // num_dims, num_dims)
    scale, offset = (place.scale_x, place.scale_y), (place.offset_x, place.offset_y)
    scores = points[..., 2:] if num_dims == 3 else np.ones_like(points[..., :1])
    return np.concatenate([(points[..., :2] - offset) / scale, scores], 2).astype(np.float32)


def rles(
    coefficients: Floats,
    prototypes: Floats,
    boxes_xyxy: Floats,
    place: Placement,
    size_wh: tuple[int, int],
) -> list[str]:
    """Return one COCO RLE per object at the original's size, cropped to its box.

    `coefficients` is `(N, 32)`, `prototypes` `(32, h, w)`, boxes are in the original's pixels.
    A pixel belongs to an object where the interpolated logit at its middle is above 0.
    """
    return [
        _rle(one, prototypes, box, place, *size_wh)
        for one, box in zip(coefficients, boxes_xyxy, strict=True)
    ]


def _rle(
    coefficients: Floats,
    prototypes: Floats,
    box_xyxy: Floats,
    place: Placement,
    width: int,
    height: int,
) -> str:
    # a pixel is in a box where its middle is
    left, top, right, bottom = np.ceil(box_xyxy - 0.5).astype(int).tolist()
    if right <= left or bottom <= top:
        return masks.compress(np.array([width * height]))
    x = _Axis(left, right - left, place.scale_x / CELL, place.offset_x / CELL)
    y = _Axis(top, bottom - top, place.scale_y / CELL, place.offset_y / CELL)
    logits = np.tensordot(coefficients, prototypes[:, y.cells, x.cells], 1)
    # drawn column by column, as an RLE is read
    matrix = np.array(
        [[0, x.scale, x.start - x.cells.start], [y.scale, 0, y.start - y.cells.start]]
    )
    drawn = cv2.warpAffine(
        logits,
        matrix,
        (y.num_pixels, x.num_pixels),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return _compressed(drawn > 0, left, top, width, height)


class _Axis(NamedTuple):
    """Pixels of an original along one axis, and where their middles lie among the cells."""

    first: int
    num_pixels: int
    scale: float
    """Cells a pixel."""
    offset: float
    """Cells before the original's edge."""

    @property
    def start(self) -> float:
        """Place of the first pixel's middle; a whole number is a cell's middle."""
        return (self.first + 0.5) * self.scale + self.offset - 0.5

    @property
    def cells(self) -> slice:
        """The cells to interpolate between."""
        return slice(max(0, int(self.start)), int(self.start + self.num_pixels * self.scale) + 2)


def _compressed(
    columns: npt.NDArray[np.bool_], left: int, top: int, width: int, height: int
) -> str:
    """Return the RLE of a mask's part, `(columns, rows)`, at that place in a picture."""
    num_columns, num_rows = columns.shape
    closed = np.zeros((num_columns, num_rows + 1), bool)
    closed[:, :num_rows] = columns
    column, row = np.divmod(np.flatnonzero(np.diff(closed.ravel(), prepend=False)), num_rows + 1)
    changes, times = np.unique((left + column) * height + top + row, return_counts=True)
    changes = changes[times == 1]  # where a column's end is the next one's start, nothing changes
    runs = np.diff(changes, prepend=0, append=width * height)
    return masks.compress(runs[:-1] if len(changes) and runs[-1] == 0 else runs)
