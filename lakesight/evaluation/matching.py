"""Judging a search whose best are looked at again: matching (ITM), as LAVIS judges retrieval.

Shapes: P pictures, T texts, K candidates of each.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lakesight.metrics.language.ranks import MAX_CELLS, Columns
from lakesight.metrics.objects import Floats, Ids
from lakesight.models.base import Image, Matcher

AT_ONCE = 16
"""Pictures that are seen together."""


class Candidates(NamedTuple):
    """The best pairs of pictures and texts, of both ways, each once and by picture."""

    pictures: Ids
    """`(N,)` rows of pictures, rising."""
    texts: Ids
    """`(N,)` rows of texts."""
    cosines: Floats
    """`(N,)`."""
    of_texts: npt.NDArray[np.bool_]
    """`(N,)`: whether the picture is one of the text's best K."""
    of_pictures: npt.NDArray[np.bool_]
    """`(N,)`: whether the text is one of the picture's best K."""


def candidates(
    columns: Columns, num_pictures: int, num_texts: int, most: int, max_cells: int = MAX_CELLS
) -> Candidates:
    """Return the best `most` pictures of each text, and texts of each picture.

    What is never found is no candidate. `columns` as of `both_ranks`, asked once for each.
    """
    step = max(1, max_cells // max(num_pictures, 1))
    by_text: list[Ids] = [np.zeros(0, np.int64)]
    cosines: list[Floats] = [np.zeros(0)]
    best = np.full((num_pictures, 0), -np.inf)
    best_texts = np.zeros((num_pictures, 0), np.int64)
    for start in range(0, num_texts, step):
        part = np.asarray(columns(slice(start, start + step)), np.float64)  # (P, t)
        numbers = np.arange(start, start + part.shape[1])
        rows = _best(part.T, most)  # (t, K) pictures
        by_text.append((rows * num_texts + numbers[:, None]).ravel())
        cosines.append(np.take_along_axis(part.T, rows, axis=1).ravel())
        best = np.concatenate([best, part], axis=1)
        best_texts = np.concatenate(
            [best_texts, np.broadcast_to(numbers, (num_pictures, len(numbers)))], axis=1
        )
        kept = _best(best, most)
        best = np.take_along_axis(best, kept, axis=1)
        best_texts = np.take_along_axis(best_texts, kept, axis=1)
    by_picture = (np.arange(num_pictures)[:, None] * num_texts + best_texts).ravel()
    codes = np.concatenate([*by_text, by_picture])
    found = np.concatenate([*cosines, best.ravel()])
    codes, first = np.unique(codes[found > -np.inf], return_index=True)
    found = found[found > -np.inf][first]
    pictures, texts = np.divmod(codes, max(num_texts, 1))
    of_texts = np.isin(codes, np.concatenate(by_text))
    return Candidates(pictures, texts, found, of_texts, np.isin(codes, by_picture))


def _best(table: Floats, most: int) -> Ids:
    """Return the places of the `most` largest numbers of each row, in any order."""
    if table.shape[1] <= most:
        return np.broadcast_to(np.arange(table.shape[1]), table.shape)
    return np.argpartition(-table, most - 1, axis=1)[:, :most]


def scores(
    model: Matcher, views: Iterator[Image], texts: Sequence[str], pairs: Candidates
) -> Floats:
    """Return what each pair is ranked by, `(N,)`: its cosine and the logit of "yes", as LAVIS.

    `views` are those of all pictures, in their order; each is seen once.
    """
    found = pairs.cosines.copy()
    done = 0
    while some := list(islice(views, AT_ONCE)):
        features = model.see_features(some)
        here = slice(*np.searchsorted(pairs.pictures, [done, done + len(some)]))
        rows = pairs.pictures[here] - done
        logits = model.match_logits(features[rows], [texts[one] for one in pairs.texts[here]])
        found[here] += logits[:, 1]
        done += len(some)
    return found


def reranked(
    ranks: tuple[Floats, Floats], pairs: Candidates, found: Floats, owners: Ids
) -> tuple[Floats, Floats]:
    """Return ranks of both ways as `both_ranks`, after the candidates were ranked by `found`.

    What is no candidate keeps its place, behind them. `owners` `(T,)`: the row of the picture that
    each text belongs to.
    """
    of_texts, of_pictures = (one.copy() for one in ranks)
    right = owners[pairs.texts] == pairs.pictures
    for own, queries, places in (
        (pairs.of_texts, pairs.texts, of_texts),
        (pairs.of_pictures, pairs.pictures, of_pictures),
    ):
        asked, is_right, score = queries[own], right[own], found[own]
        best = np.full(len(places), -np.inf)
        np.maximum.at(best, asked[is_right], score[is_right])
        ahead: Any = np.zeros(len(places))
        np.add.at(ahead, asked, ~is_right & (score >= best[asked]))
        has_right = best > -np.inf
        places[has_right] = 1 + ahead[has_right]
    return of_texts, of_pictures
