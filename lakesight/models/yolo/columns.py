"""The Arrow columns of the five tasks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.models.detection import Found, to_arrow
from lakesight.schemas import CLASSES, KEYPOINTS, MASK, OBB, detection_type

Floats = npt.NDArray[np.float32]


def with_masks(
    found: Sequence[Found],
    counts: Sequence[Sequence[str]],
    sizes_wh: Sequence[tuple[int, int]],
    labels: Sequence[str],
) -> pa.Array:
    """Return `detections` with masks: one RLE per object, of pictures of these sizes."""
    numbers = [len(one) for one in counts]
    sizes_hw = np.array([(height, width) for width, height in sizes_wh], np.int32).reshape(-1, 2)
    sizes = np.repeat(sizes_hw, numbers, axis=0)
    texts = pa.array([text for one in counts for text in one], pa.string())
    fields = list(MASK)
    values = pa.FixedSizeListArray.from_arrays(sizes.ravel(), type=fields[0].type)
    masks = pa.StructArray.from_arrays([values, texts], fields=fields)
    return _joined(to_arrow(found, labels), masks, detection_type(masks=True))


def with_keypoints(
    found: Sequence[Found], points: Sequence[Floats], labels: Sequence[str]
) -> pa.Array:
    """Return `detections` with keypoints: `(N, K, 3)` per picture."""
    num_points = max((one.shape[1] for one in points), default=0)
    flat = np.concatenate([np.empty((0, 3), np.float32), *(one.reshape(-1, 3) for one in points)])
    values = pa.FixedSizeListArray.from_arrays(flat.ravel(), type=KEYPOINTS.value_type)
    num_objects = sum(len(one) for one in points)
    offsets = pa.array(np.arange(num_objects + 1, dtype=np.int32) * num_points)
    keypoints = pa.ListArray.from_arrays(offsets, values, type=KEYPOINTS)
    return _joined(to_arrow(found, labels), keypoints, detection_type(keypoints=True))


def with_rotated_boxes(
    found: Sequence[Found], rotated: Sequence[Floats], labels: Sequence[str]
) -> pa.Array:
    """Return `detections` with rotated boxes: `(N, 5)` per picture."""
    flat = np.concatenate([np.empty((0, 5), np.float32), *rotated])
    values = pa.FixedSizeListArray.from_arrays(flat.ravel(), type=OBB)
    return _joined(to_arrow(found, labels), values, detection_type(angles=True))


def classes(scores: Floats, labels: Sequence[str], top_k: int, threshold: float | None) -> pa.Array:
    """Return `classes` of `(B, C)` scores: the best `top_k`, those at the threshold if given."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    best = np.take_along_axis(scores, order, axis=1)
    kept = np.ones_like(best, bool) if threshold is None else best >= threshold
    class_ids = order[kept]
    columns = [
        pa.array(class_ids, pa.int32()),
        pa.array([labels[class_id] for class_id in class_ids], pa.string()),
        pa.array(best[kept], pa.float32()),
    ]
    values = pa.StructArray.from_arrays(columns, fields=list(CLASSES.value_type))
    offsets = np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=CLASSES)


def _joined(plain: pa.ListArray, last: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return plain detections with one field more."""
    objects = pa.StructArray.from_arrays(
        [*plain.values.flatten(), last], fields=list(kind.value_type)
    )
    return pa.ListArray.from_arrays(plain.offsets, objects, type=kind)
