"""At which place what belongs to a picture or a text is found."""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.objects import Floats, Ids, Key

MAX_CELLS = 1 << 24
"""Similarities that are compared at once: 16 MB of flags."""

Similarities = npt.NDArray[np.float32]


def checked_similarities(
    similarities: npt.ArrayLike, num_pictures: int, num_texts: int
) -> Similarities:
    """Return similarities `(pictures, texts)`; UserError for another shape or NaN."""
    table = np.asarray(similarities)
    if table.dtype != np.float64:
        table = table.astype(np.float32, copy=False)
    if table.shape != (num_pictures, num_texts):
        raise UserError(
            f"similarities must have the shape {(num_pictures, num_texts)} (pictures, texts), but "
            f"got {table.shape}"
        )
    if np.isnan(table).any():
        raise UserError("similarities must be numbers, but one is NaN")
    return table


def picture_ranks(table: Similarities, owners: Ids, max_cells: int = MAX_CELLS) -> Floats:
    """Return the place of the first right picture for each text, from 1 on, `(texts,)`.

    `owners` `(texts,)` is the row of each text's picture. Of equal similarities the wrong picture
    comes first.
    """
    own = table[owners, np.arange(len(owners))]
    ranks = np.zeros(len(owners))
    step = max(1, max_cells // max(len(owners), 1))
    for start in range(0, len(table), step):
        ranks += (table[start : start + step] >= own).sum(axis=0)
    return ranks  # its own picture counts once, as the place from 1 on does


def text_ranks(table: Similarities, owners: Ids, max_cells: int = MAX_CELLS) -> Floats:
    """Return the place of the first right text for each picture, `(pictures,)`.

    Of equal similarities wrong texts come first. Infinite for a picture without a text.
    """
    best = np.full(len(table), -np.inf, table.dtype)
    own = table[owners, np.arange(len(owners))]
    np.maximum.at(best, owners, own)
    ranks = np.ones(len(table))
    step = max(1, max_cells // max(table.shape[1], 1))
    for start in range(0, len(table), step):
        rows = slice(start, start + step)
        ranks[rows] += (table[rows] >= best[rows, None]).sum(axis=1)
    ranks -= np.bincount(owners[own >= best[owners]], minlength=len(table))
    return np.where(np.isin(np.arange(len(table)), owners), ranks, np.inf)


def listed_rank(candidates: Sequence[Key], right: Collection[Key]) -> float:
    """Return the place of the first right candidate, from 1 on; infinite where there is none."""
    places = (place for place, one in enumerate(candidates, 1) if one in right)
    return float(next(places, np.inf))
