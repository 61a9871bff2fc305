"""Judging how well texts find their picture, and pictures their texts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.bootstrap import Bootstrap, Interval
from lakesight.metrics.language.checks import check_lengths
from lakesight.metrics.language.ranks import (
    Columns,
    both_ranks,
    checked_similarities,
    listed_rank,
)
from lakesight.metrics.language.result import LanguageResult, divided, summarised
from lakesight.metrics.objects import Floats, Key
from lakesight.metrics.pictures import Pictures, grouped

Direction = Literal["text_to_image", "image_to_text"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

PLACES = (1, 5, 10)

Slices = Sequence[Mapping[str, str]] | None


class RetrievalEvaluator:
    """Judges a search both ways: pictures for a text, texts for a picture.

        evaluator = RetrievalEvaluator()
        evaluator.update(pictures, texts, similarities, owners)
        print(evaluator.result(Bootstrap()).table())

    Figures, for each way that was judged: `…_r1`, `…_r5`, `…_r10`, the part of the queries that
    have something right among the first so many, and `…_median_rank`, from 1 on.

    Ties are counted against the model: of equal similarities what is wrong comes first, so a model
    to which all is alike has a recall of 0. Draws are of pictures, with all their texts.

    Updates may come in any order, and evaluators be merged: see `DetectionEvaluator`.
    """

    def __init__(self) -> None:
        self.queries: dict[Direction, Pictures] = {way: Pictures() for way in DIRECTIONS}
        """What has been looked for, by its key."""
        self._pictures: dict[Direction, list[Key]] = {way: [] for way in DIRECTIONS}
        self._ranks: dict[Direction, list[Floats]] = {way: [] for way in DIRECTIONS}

    def __len__(self) -> int:
        return sum(map(len, self.queries.values()))

    def update(
        self,
        pictures: Sequence[Key],
        texts: Sequence[Key],
        similarities: npt.ArrayLike | Columns,
        owners: Sequence[Key],
        slices: Slices = None,
    ) -> None:
        """Add all queries both ways among P pictures and T texts.

        `similarities` `(P, T)`, the higher the more alike, minus infinity for what is never found;
        or a function that gives a slice of its columns, asked twice for each, where the whole table
        would be too large. `owners` `(T,)`, the key of each text's picture, which may have any
        number of texts; one without is only found, or not. `slices` are of the pictures, and hold
        for their texts. UserError, and nothing added, where shapes differ, a similarity is NaN, an
        owner is not among the pictures, or a key was added before.
        """
        check_lengths(texts, owners=owners)
        columns = _columns(similarities, len(pictures), len(texts))
        rows = {picture: row for row, picture in enumerate(pictures)}
        unknown = [owner for owner in owners if owner not in rows]
        if unknown:
            raise UserError(f"every text belongs to one of the pictures, but {unknown[0]!r} is not")
        numbers = np.array([rows[owner] for owner in owners], np.int64)
        self.update_both(
            pictures, texts, both_ranks(columns, numbers, len(pictures)), numbers, slices
        )

    def update_both(
        self,
        pictures: Sequence[Key],
        texts: Sequence[Key],
        ranks: tuple[npt.ArrayLike, npt.ArrayLike],
        rows: npt.ArrayLike,
        slices: Slices = None,
    ) -> None:
        """Add all queries both ways, whose ranks are known: see `both_ranks` and `update`.

        `ranks` are of texts `(T,)` and of pictures `(P,)`; `rows` `(T,)` says which picture each
        text belongs to.
        """
        of_texts, of_pictures = (np.asarray(one, np.float64) for one in ranks)
        numbers = np.asarray(rows, np.int64)
        owners = [pictures[row] for row in numbers]
        kinds = None if slices is None else [slices[row] for row in numbers]
        both = RetrievalEvaluator()
        both.add("text_to_image", texts, of_texts, owners, kinds)
        asked = np.unique(numbers)
        keys = [pictures[row] for row in asked]
        kinds = None if slices is None else [slices[row] for row in asked]
        both.add("image_to_text", keys, of_pictures[asked], keys, kinds)
        self.merge(both)

    def update_ranked(
        self,
        way: Direction,
        queries: Sequence[Key],
        candidates: Sequence[Sequence[Key]],
        right: Sequence[Collection[Key]],
        slices: Slices = None,
        *,
        pictures: Sequence[Key] | None = None,
    ) -> None:
        """Add queries one way: what was found for each, the best first, and what is right.

        Lists may end early: what they do not name is not found. `pictures` says to which picture
        each query belongs, for draws; by default each stands alone. UserError, and nothing added,
        where numbers differ or a query was added before.
        """
        check_lengths(queries, candidates=candidates, right=right)
        ranks = [listed_rank(*one) for one in zip(candidates, right, strict=True)]
        self.add(way, queries, ranks, pictures, slices)

    def add(
        self,
        way: Direction,
        queries: Sequence[Key],
        ranks: npt.ArrayLike,
        pictures: Sequence[Key] | None = None,
        slices: Slices = None,
    ) -> None:
        """Add queries whose ranks are known, from 1 on, infinite for what was not found."""
        if way not in DIRECTIONS:
            raise UserError(f"the way is one of {', '.join(DIRECTIONS)}, but got {way!r}")
        places = np.asarray(ranks, np.float64)
        about = queries if pictures is None else pictures
        check_lengths(queries, ranks=places, pictures=about)
        self.queries[way].add(queries, slices)
        self._pictures[way] += about
        self._ranks[way].append(places)

    def merge(self, other: "RetrievalEvaluator") -> None:
        """Add another's queries; UserError, and nothing added, where one is in both."""
        shares = {way: other.rows(way) for way in DIRECTIONS}
        for way in DIRECTIONS:
            self.queries[way].refuse(other.queries[way].slices)
        for way, (pictures, ranks) in shares.items():
            self.queries[way].merge(other.queries[way])
            self._pictures[way] += pictures
            self._ranks[way].append(ranks)

    def rows(self, way: Direction) -> tuple[list[Key], Floats]:
        """Return the picture and the rank of each query, as they came."""
        return list(self._pictures[way]), np.concatenate([np.zeros(0), *self._ranks[way]])

    def result(self, bootstrap: Bootstrap | None = None) -> LanguageResult:
        """Return the figures so far; with a `Bootstrap`, intervals of the recalls."""
        return self._of({way: self.queries[way].order() for way in DIRECTIONS}, bootstrap)

    def slices(self, name: str, bootstrap: Bootstrap | None = None) -> dict[str, LanguageResult]:
        """Return the figures of the queries of each kind; UserError where none has the name."""
        orders = {way: self.queries[way].order() for way in DIRECTIONS if self.queries[way].slices}
        chosen = {way: self.queries[way].kinds(name) for way in orders}
        kinds = sorted({kind for one in chosen.values() for kind in one})
        return {
            kind: self._of(
                {
                    way: order[chosen[way][kind][order]]
                    for way, order in orders.items()
                    if kind in chosen[way]
                },
                bootstrap,
            )
            for kind in kinds
        }

    def _of(
        self, orders: Mapping[Direction, npt.NDArray[np.intp]], bootstrap: Bootstrap | None
    ) -> LanguageResult:
        counts: dict[str, int] = {}
        values: dict[str, float] = {}
        intervals: dict[str, Interval] = {}
        for way, order in orders.items():
            if not len(order):
                continue
            pictures, ranks = self.rows(way)
            names = [f"{way}_r{place}" for place in PLACES]
            stats = _stats(ranks[order])
            added = grouped([pictures[row] for row in order], stats)
            own, ends = summarised(names, added, _means, bootstrap)
            values |= own | {f"{way}_median_rank": float(np.median(ranks[order]))}
            intervals |= ends
            counts[f"{way}_queries"] = len(order)
        headline = next((name for name in values if name.endswith("_r1")), "")
        return LanguageResult(counts, values, intervals, headline=headline)


def _columns(similarities: npt.ArrayLike | Columns, num_pictures: int, num_texts: int) -> Columns:
    if callable(similarities):
        return similarities
    table = checked_similarities(similarities, num_pictures, num_texts)
    return lambda texts: table[:, texts]


def _stats(ranks: Floats) -> Floats:
    """Return `(N, 4)`: one, and whether the rank is among the first 1, 5, 10."""
    return np.stack([np.ones(len(ranks)), *(ranks <= place for place in PLACES)], axis=1)


def _means(sums: Floats) -> Floats:
    return divided(sums[:, 1:], sums[:, :1])
