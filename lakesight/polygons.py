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
    """Return `(N, 2)` grid points along the closed polygon, in order: of all edges at once.

    An edge has one point per step along its longer side, always computed from the smaller
    coordinate up, so that an edge and its reverse agree.
    """
    starts, ends = vertices, np.roll(vertices, -1, axis=0)
    edges = np.arange(len(vertices))
    steps = np.abs(ends - starts)
    along = (steps[:, 0] < steps[:, 1]).astype(np.int64)
    across = 1 - along
    flipped = starts[edges, along] > ends[edges, along]
    low = np.where(flipped[:, None], ends, starts)
    high = np.where(flipped[:, None], starts, ends)
    counts = steps[edges, along]
    slopes = (high - low)[edges, across] / np.maximum(counts, 1)
    edge = np.repeat(edges, counts + 1)  # of every point
    step = np.arange(len(edge)) - np.repeat(np.cumsum(counts + 1) - counts - 1, counts + 1)
    step = np.where(flipped[edge], counts[edge] - step, step)
    points = np.empty((len(edge), 2), np.int64)
    points[np.arange(len(edge)), along[edge]] = low[edge, along[edge]] + step
    exact = low[edge, across[edge]] + slopes[edge] * step + 0.5
    points[np.arange(len(edge)), across[edge]] = exact.astype(np.int64)
    return points


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
