"""At which place what belongs to a picture or a text is found."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.objects import Flags, Floats, Ids, Key

MAX_CELLS = 1 << 24
"""Similarities that are compared at once: 64 MB."""

Similarities = npt.NDArray[np.float32]
Columns = Callable[[slice], Similarities]
"""Gives the similarities `(pictures, texts)` of a slice of the texts."""


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


def both_ranks(
    columns: Columns, owners: Ids, num_pictures: int, max_cells: int = MAX_CELLS
) -> tuple[Floats, Floats]:
    """Return the place of each text's picture `(texts,)`, and of each picture's first own text.

    From 1 on; `owners` `(texts,)` is the row of each text's picture. Of equal similarities what is
    wrong comes first. Infinite where the similarity is minus infinity, and for a picture without a
    text. `columns` gives the similarities of all pictures to a slice of the texts, and is asked
    twice for each: of more than `max_cells` only a part is held at once.
    """
    step = max(1, max_cells // max(num_pictures, 1))
    parts = [slice(start, start + step) for start in range(0, len(owners), step)]
    of_texts: list[Any] = [np.zeros(0)]
    similarity: list[Any] = [np.zeros(0, np.float32)]
    for part in parts:
        table = checked_similarities(columns(part), num_pictures, len(owners[part]))
        similarity.append(table[_places(owners[part])])
        of_texts.append(1 + _wrong(table >= similarity[-1], owners[part]).sum(axis=0))
    own = np.concatenate(similarity)
    best = np.full(num_pictures, -np.inf, own.dtype)
    np.maximum.at(best, owners, own)
    of_pictures = np.ones(num_pictures)
    for part in parts:
        of_pictures += _wrong(columns(part) >= best[:, None], owners[part]).sum(axis=1)
    return (
        np.where(own > -np.inf, np.concatenate(of_texts), np.inf),
        np.where(best > -np.inf, of_pictures, np.inf),
    )


def _places(owners: Ids) -> tuple[Ids, Ids]:
    """Return where each text meets its own picture."""
    return owners, np.arange(len(owners))


def _wrong(flags: Flags, owners: Ids) -> Flags:
    """Return flags `(pictures, texts)`, without those of texts and their own pictures."""
    flags[_places(owners)] = False
    return flags


def listed_rank(candidates: Sequence[Key], right: Collection[Key]) -> float:
    """Return the place of the first right candidate, from 1 on; infinite where there is none."""
    places = (place for place, one in enumerate(candidates, 1) if one in right)
    return float(next(places, np.inf))
