"""From a model's objects to those of `supervision` (https://supervision.roboflow.com)."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakesight import masks
from lakesight.errors import UserError
from lakesight.models.rotated import corners

if TYPE_CHECKING:
    from supervision import Classifications, Detections, KeyPoints

Objects = Sequence[Mapping[str, Any]]
"""The value of one picture in a `detections` or `classes` column."""


def detections(objects: Objects, size_wh: tuple[int, int]) -> "Detections":
    """Return objects as `supervision.Detections`.

    `data` has `class_name`, and of rotated boxes `xyxyxyxy` `(N, 4, 2)`; masks are `(N, H, W)` bool
    at the size of the picture, `size_wh`.
    """
    sv = _supervision()
    names = set(objects[0]) if objects else set()
    data: dict[str, Any] = {"class_name": np.array([str(one["label"]) for one in objects], str)}
    if "obb" in names:
        data["xyxyxyxy"] = corners(_floats(objects, "obb", 5)).astype(np.float32)
    tracks = "track_id" in names and all(one["track_id"] is not None for one in objects)
    found: Detections = sv.Detections(
        xyxy=_floats(objects, "box", 4),
        mask=_dense(objects, size_wh) if "mask" in names else None,
        confidence=np.array([one["score"] for one in objects], np.float32),
        class_id=np.array([one["class_id"] for one in objects], int),
        tracker_id=np.array([one["track_id"] for one in objects], int) if tracks else None,
        data=data,
    )
    return found


def key_points(objects: Objects) -> "KeyPoints":
    """Return the objects that have keypoints as `supervision.KeyPoints`."""
    sv = _supervision()
    there = [one for one in objects if one.get("keypoints")]
    points = np.array([one["keypoints"] for one in there], np.float32)
    points = points if there else np.zeros((0, 0, 3), np.float32)
    found: KeyPoints = sv.KeyPoints(
        xy=points[..., :2],
        class_id=np.array([one["class_id"] for one in there], int),
        keypoint_confidence=points[..., 2],
        detection_confidence=np.array([one["score"] for one in there], np.float32),
        data={"class_name": np.array([str(one["label"]) for one in there], str)},
    )
    return found


def classifications(classes: Objects) -> "Classifications":
    """Return classes as `supervision.Classifications`."""
    found: Classifications = _supervision().Classifications(
        class_id=np.array([one["class_id"] for one in classes], int),
        confidence=np.array([one["score"] for one in classes], np.float32),
    )
    return found


def _supervision() -> ModuleType:
    try:
        import supervision
    except ImportError as error:
        raise UserError(
            "supervision is not installed: pip install 'lakesight[supervision]'"
        ) from error
    return supervision


def _floats(objects: Objects, name: str, size: int) -> npt.NDArray[np.float32]:
    return np.array([one[name] for one in objects], np.float32).reshape(-1, size)


def _dense(objects: Objects, size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    rles = [masks.Rle(tuple(one["mask"]["size"]), one["mask"]["counts"]) for one in objects]
    width, height = size_wh
    drawn = np.zeros((len(rles), height, width), bool)
    for place, rle in zip(drawn, rles, strict=True):
        place[:] = masks.decode(rle)
    return drawn
