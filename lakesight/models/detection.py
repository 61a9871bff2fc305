"""What every detector shares: its options, its boxes in original pixels, its Arrow column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from lakesight.media.view import ImageView
from lakesight.models.nms import nms
from lakesight.runtimes.base import RuntimeOptions
from lakesight.schemas import BOX, detection_type


class DetectionOptions(RuntimeOptions):
    """Options of a detector that needs no suppression."""

    score_threshold: float = Field(default=0.25, ge=0, le=1)
    """Boxes that score less are not written."""
    max_detections: int = Field(default=300, ge=1)
    """The best so many boxes of a picture are written."""


class NmsOptions(DetectionOptions):
    """Options of a detector whose boxes still overlap."""

    iou_threshold: float = Field(default=0.6, ge=0, le=1)
    """Of two boxes of one class that overlap by more, the lower score goes."""


@dataclass(frozen=True)
class Found:
    """The objects of one picture: `(N, 4)` float32 boxes, `(N,)` scores, `(N,)` int32 class ids."""

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int32]

    def take(self, indices: npt.NDArray[np.intp]) -> "Found":
        """Return the chosen objects, in the order of `indices`."""
        return Found(self.boxes_xyxy[indices], self.scores[indices], self.class_ids[indices])

    def best(self, options: DetectionOptions) -> "Found":
        """Return the objects at or above the threshold, by falling score."""
        order = np.argsort(-self.scores, kind="stable")
        order = order[self.scores[order] >= options.score_threshold]
        return self.take(order[: options.max_detections])

    def suppressed(self, options: NmsOptions) -> "Found":
        """Return what class-aware NMS leaves, by falling score."""
        kept = nms(
            self.boxes_xyxy,
            self.scores,
            self.class_ids,
            options.iou_threshold,
            options.max_detections,
        )
        return self.take(kept)

    def in_original(self, view: ImageView, width: int, height: int) -> "Found":
        """Return the boxes in an original's pixels, clipped to it; boxes outside it are left out.

        `width` and `height` are the original's; the boxes come in the view's pixels.
        """
        boxes_xyxy, seen = clipped(self.boxes_xyxy, view, width, height)
        return Found(boxes_xyxy, self.scores[seen], self.class_ids[seen])


NOTHING = Found(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


def candidates(
    boxes_xyxy: npt.NDArray[np.float32], scores_nc: npt.NDArray[np.float32], threshold: float
) -> Found:
    """Return one object per box and class that reaches the threshold.

    `boxes_xyxy` is `(N, 4)`, `scores_nc` `(N, classes)`.
    """
    boxes, classes = np.nonzero(scores_nc >= threshold)
    return Found(boxes_xyxy[boxes], scores_nc[boxes, classes], classes.astype(np.int32))


def clipped(
    boxes_xyxy: npt.NDArray[np.floating], view: ImageView, width: int, height: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """Return boxes of a view in its original's pixels, clipped, and which have any area there.

    `width` and `height` are the original's; only the boxes that have area are returned.
    """
    boxes = view.place(width, height).to_original(boxes_xyxy)
    inside = np.clip(boxes, 0, (width, height) * 2).astype(np.float32)
    seen = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
    return inside[seen], seen


def sizes(rows: pa.Table) -> list[tuple[int, int]]:
    """Return `(width, height)` of every row's original, in pixels."""
    widths, heights = rows["width"].to_pylist(), rows["height"].to_pylist()
    return list(zip(widths, heights, strict=True))


def to_arrow(found: Sequence[Found], labels: Sequence[str]) -> pa.Array:
    """Return a `detections` column: one list per picture."""
    offsets = np.cumsum([0, *(len(one.scores) for one in found)], dtype=np.int32)
    boxes = np.concatenate([NOTHING.boxes_xyxy, *(one.boxes_xyxy for one in found)])
    scores = np.concatenate([NOTHING.scores, *(one.scores for one in found)])
    class_ids = np.concatenate([NOTHING.class_ids, *(one.class_ids for one in found)])
    columns = [
        pa.FixedSizeListArray.from_arrays(boxes.ravel(), type=BOX),
        pa.array(scores),
        pa.array(class_ids),
        pa.array([labels[class_id] for class_id in class_ids], pa.string()),
    ]
    kind = detection_type()
    objects = pa.StructArray.from_arrays(columns, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), objects, type=kind)
