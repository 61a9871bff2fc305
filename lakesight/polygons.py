"""From COCO's segmentations to run lengths; polygons pixel for pixel as COCO draws them.

COCO walks each edge on a grid five times as fine and lets a column's pixels change where the walk
crosses the column's centre (cocodataset.org, `rleFrPoly`): other fillers differ at the border.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight import masks
from lakesight.errors import UserError
from lakesight.masks import Counts, Rle

Points = npt.NDArray[np.int64]
FINE = 5
"""Steps of the walk in a pixel."""


def encode_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """Return the mask of a COCO `segmentation`: polygons, or run lengths as numbers or as text."""
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        rows, columns = segmentation["size"]
        return Rle((rows, columns), counts if isinstance(counts, str) else masks.compress(counts))
    return encode_polygons(segmentation, height, width)


def encode_polygons(polygons: Sequence[npt.ArrayLike], height: int, width: int) -> Rle:
    """Return the mask of the union of polygons, each `x0, y0, x1, y1, …` in pixels."""
    size = (height, width)
    drawn = [
        Rle(size, masks.compress(polygon_runs(polygon, height, width))) for polygon in polygons
    ]
    if len(drawn) == 1:
        return drawn[0]
    union = np.zeros(size, bool)
    for rle in drawn:
        union |= masks.decode(rle)
    return masks.encode(union)


def polygon_runs(polygon: npt.ArrayLike, height: int, width: int) -> Counts:
    """Return the run lengths of one polygon `x0, y0, x1, y1, …` of at least three points."""
    flat = np.asarray(polygon, np.float64).ravel()
    if len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise UserError(
            f"a polygon must be x0, y0, x1, y1, x2, y2, … of three points or more, but got "
            f"{len(flat)} numbers: {flat[:8].tolist()}"
        )
    vertices = (FINE * flat.reshape(-1, 2) + 0.5).astype(np.int64)  # towards 0, as C does
    changes = _column_changes(_walk(vertices), height, width)
    places, times = np.unique(changes, return_counts=True)
    toggles = places[times % 2 == 1]  # two changes at one place are none
    toggles = toggles[toggles < height * width]
    runs: Counts = np.diff(toggles, prepend=0, append=height * width)
    return runs


def _walk(vertices: Points) -> Points:
    """Return `(N, 2)` grid points along the closed polygon, in order."""
    edges = zip(vertices, np.roll(vertices, -1, axis=0), strict=True)
    return np.concatenate([_edge(start, end) for start, end in edges])


def _edge(start: Points, end: Points) -> Points:
    """Return the grid points from start to end, one per step along the longer side.

    Always computed from the smaller coordinate up, so that an edge and its reverse agree.
    """
    steps = np.abs(end - start)
    along = 0 if steps[0] >= steps[1] else 1
    flipped = start[along] > end[along]
    low, high = (end, start) if flipped else (start, end)
    count = steps[along]
    slope = (high[1 - along] - low[1 - along]) / count if count else 0.0
    points = np.empty((count + 1, 2), np.int64)
    points[:, along] = low[along] + np.arange(count + 1)
    points[:, 1 - along] = (low[1 - along] + slope * np.arange(count + 1) + 0.5).astype(np.int64)
    return points[::-1] if flipped else points


def _column_changes(walk: Points, height: int, width: int) -> Counts:
    """Return the places, column by column, where the walk crosses the centre of a column."""
    x, y = walk.T
    crossing = np.flatnonzero(x[1:] != x[:-1])
    fine_x = np.where(x[1:] < x[:-1], x[1:], x[1:] - 1)[crossing]
    column = (fine_x + 0.5) / FINE - 0.5
    row = (np.minimum(y[1:], y[:-1])[crossing] + 0.5) / FINE - 0.5
    seen = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    row = np.ceil(np.clip(row, 0, height))
    changes: Counts = (column[seen] * height + row[seen]).astype(np.int64)
    return changes
