"""Whether servers say the same of pictures, so that `benchmarks.serve` compares like with like."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.models.base import Model

COLUMNS = {"detect": "detections", "embed": "embeddings"}


def compared(kind: str, model: Model, files: Sequence[Path], mine: str, theirs: str) -> float:
    """Return the share of pictures of which the peer says about the same.

    Raises AssertionError where ours is not what the model says in this process, where the peer's
    is another on more than one picture in ten, and where a detector found nothing.
    """
    same = num_values = 0
    for path in files:
        data = path.read_bytes()
        drawn = decode(data, [model.view], Limits())
        size = pa.table({"width": [drawn.width], "height": [drawn.height]})
        (value,) = model.predict(drawn.views, size).to_pylist()
        sent: dict[str, Any] = {"content": data, "headers": {"content-type": "image/jpeg"}}
        (result,) = httpx.post(mine, timeout=60, **sent).json()["results"]
        other = httpx.post(theirs, timeout=60, **sent).json()[COLUMNS[kind]]
        assert alike(kind, result[COLUMNS[kind]], value, 1e-3), path.name
        same += alike(kind, other, value, 0.1)
        num_values += len(value)
    assert num_values >= len(files), "there is nothing to compare"
    assert same >= 0.9 * len(files), f"the peer agrees on {same} of {len(files)} pictures"
    return round(same / len(files), 3)


def alike(kind: str, one: Sequence[Any], other: Sequence[Any], tolerance: float) -> bool:
    """Return whether two models say the same, but for so much of a score, an IoU or a cosine.

    Of objects those with a score above 0.5 in either.
    """
    if kind == "embed":
        cosines = (np.array(one) * np.array(other)).sum(axis=1)
        return bool(cosines.min() > 1 - tolerance)
    for every, others in ((one, other), (other, one)):
        left = list(others)
        for found in every:
            fits = (
                place
                for place, partner in enumerate(left)
                if found["label"] == partner["label"]
                and abs(found["score"] - partner["score"]) <= tolerance
                and iou(found["box"], partner["box"]) >= 1 - 2 * tolerance
            )
            place = next(fits, None) if found["score"] > 0.5 else -1
            if place is None:
                return False
            if place >= 0:
                left.pop(place)
    return True


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes (x_min, y_min, x_max, y_max)."""
    a, b = np.array(one), np.array(other)
    shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))
