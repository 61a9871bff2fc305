"""From labelled pictures to the truth that the metrics compare with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.metrics import Truth
from lakesight.polygons import encode_segmentation
from lakesight.training.blip2.texts import Told
from lakesight.training.yolo.datasets import Labelled, Task
from lakesight.training.yolo.sample import quads_to_xywhr


def truth_of(picture: Labelled, task: Task) -> Truth:
    """Return what is on a picture, in its own pixels; its crowds come last."""
    width, height = picture.size_wh
    parts = [picture] if picture.crowd is None else [picture, picture.crowd]
    quads = _joined([part.quads for part in parts]) if task == "obb" else None
    rles = [encode_segmentation(shape, height, width) for part in parts for shape in part.shapes]
    return Truth(
        str(picture.path),
        np.concatenate([part.class_ids for part in parts]),
        boxes_xyxy=None if task == "classify" else _joined([part.boxes_xyxy for part in parts]),
        masks=np.array(rles, object) if task == "segment" else None,
        keypoints=_joined([part.keypoints for part in parts]) if task == "pose" else None,
        boxes_xywhr=None if quads is None else quads_to_xywhr(quads).astype(np.float64),
        areas=None
        if any(_lacks_areas(part) for part in parts)
        else _joined([part.areas for part in parts]),
        crowd=np.arange(sum(len(part.class_ids) for part in parts)) >= len(picture.class_ids),
        slices=kinds_of(picture),
    )


def kinds_of(picture: Labelled | Told) -> dict[str, str]:
    """Return what kinds a picture is of, its folder one of them."""
    return {"folder": picture.path.parent.name, **picture.kinds}


def _lacks_areas(part: Labelled) -> bool:
    return part.areas is None and len(part.class_ids) > 0


def _joined(parts: Sequence[npt.NDArray[Any] | None]) -> Any:
    """Return the arrays one after the other, without those of no objects; None of nothing."""
    known = [part.astype(np.float64) for part in parts if part is not None]
    return np.concatenate(known) if known else None
