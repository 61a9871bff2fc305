"""Overlap of masks, from their run lengths: no mask is ever drawn."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.masks import Counts, Rle, decompress

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


def mask_iou(found: Sequence[Rle], truth: Sequence[Rle], crowd: Flags | None = None) -> Floats:
    """Return `(len(found), len(truth))` intersections over union of masks of one picture.

    Where `crowd`, one flag per truth, is set: the intersection over the area of the found mask.
    UserError where sizes differ.
    """
    check_sizes([*found, *truth])
    rows, columns = np.indices((len(found), len(truth))).reshape(2, -1)
    found_runs, truth_runs = [runs(rle) for rle in found], [runs(rle) for rle in truth]
    shared = intersections(found_runs, truth_runs, rows, columns)
    found_area, truth_area = foreground(found_runs)[rows], foreground(truth_runs)[columns]
    flags = np.zeros(len(truth), bool) if crowd is None else np.asarray(crowd, bool)
    overlap = over_union(shared, found_area, truth_area, flags[columns])
    return overlap.reshape(len(found), len(truth))


def over_union(shared: Floats, found_area: Floats, truth_area: Floats, crowd: Flags) -> Floats:
    """Return shared areas over those of the union, with a crowd over those of what was found."""
    union = np.where(crowd, found_area, found_area + truth_area - shared)
    return np.divide(shared, union, out=np.zeros(len(shared)), where=shared > 0)


def foreground(counts: Sequence[Counts]) -> Floats:
    """Return the number of pixels in each mask."""
    return np.array([one[1::2].sum() for one in counts], np.float64)


def runs(rle: Rle) -> Counts:
    """Return the run lengths of a mask; UserError where they do not fill its size."""
    counts = decompress(rle.counts)
    if counts.min() < 0 or counts.sum() != rle.size[0] * rle.size[1]:
        raise UserError(
            f"a mask of {rle.size[0]} x {rle.size[1]} has run lengths for {counts.sum()} pixels: "
            "give the height and width of the picture that it was made for"
        )
    return counts


def check_sizes(masks: Sequence[Rle]) -> None:
    """Refuse masks of different sizes on one picture."""
    sizes = sorted({tuple(rle.size) for rle in masks})
    if len(sizes) > 1:
        raise UserError(
            f"masks of one picture must have one size, but got {sizes} (height, width): "
            "write them at the size of the original picture"
        )


def intersections(
    found: Sequence[Counts], truth: Sequence[Counts], rows: Indices, columns: Indices
) -> Floats:
    """Return `(P,)` numbers of pixels that `found[rows[i]]` and `truth[columns[i]]` share.

    Time and memory go with the number of runs, not of pixels.
    """
    edges = [np.cumsum(counts) for counts in found]
    signs = [_signs(len(counts)) for counts in found]
    shared = np.zeros(len(rows))
    order = np.argsort(columns, kind="stable")
    first_pairs = np.flatnonzero(np.diff(columns[order], prepend=-1))
    for pairs in np.split(order, first_pairs)[1:]:
        partners = rows[pairs]
        rise = _rise(truth[columns[pairs[0]]], np.concatenate([edges[row] for row in partners]))
        signed = rise * np.concatenate([signs[row] for row in partners])
        starts = np.cumsum([0, *(len(edges[row]) for row in partners[:-1])])
        shared[pairs] = np.add.reduceat(signed, starts)
    return shared


def _rise(counts: Counts, pixels: Counts) -> Floats:
    """Return how many foreground pixels of a mask come before each pixel.

    A broken line whose slope is 0 or 1, so that interpolation is exact.
    """
    ends = np.concatenate(([0], np.cumsum(counts)))
    before = np.concatenate(([0], np.cumsum(counts * (np.arange(len(counts)) % 2))))
    return np.interp(pixels, ends, before)


def _signs(num_runs: int) -> Floats:
    """Return +1 for the end of a foreground run, -1 for its start, 0 for the picture's end."""
    signs = np.where(np.arange(num_runs) % 2 == 1, 1.0, -1.0)
    if num_runs % 2:
        signs[-1] = 0
    return signs
