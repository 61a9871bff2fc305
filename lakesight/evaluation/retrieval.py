"""Judging a search: pictures by their captions, captions by their picture."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakesight.errors import UserError
from lakesight.evaluation.labels import lengths, null_notes
from lakesight.evaluation.matching import candidates, reranked, scores
from lakesight.evaluation.result import Evaluation, of_one
from lakesight.evaluation.truth import kinds_of
from lakesight.metrics import Bootstrap, RetrievalEvaluator
from lakesight.metrics.language.ranks import MAX_CELLS, both_ranks
from lakesight.models.base import Image, ImageEncoder, Matcher, TextEncoder
from lakesight.models.look import draw_view
from lakesight.training.blip2.texts import Told

Vectors = npt.NDArray[np.float32]


class RetrievalJudge:
    """Judges the vectors of pictures by those of their captions: cosines, of several the best.

    All pictures that it was given are searched, and all their captions. Held are the vectors, not
    the table of similarities.
    """

    def __init__(self, encoder: TextEncoder, rerank: int | None = None) -> None:
        """Take what embeds the texts, and how many of the best are looked at again.

        Raises UserError where it shall match pictures with texts, and cannot.
        """
        if rerank is not None:
            if not isinstance(encoder, Matcher):
                raise UserError(
                    "the best are looked at again by what matches pictures with texts: take a "
                    "retrieval checkpoint of BLIP or BLIP-2, or leave --rerank out"
                )
            encoder.see_features([])  # refuses now what has no matching head
        self._encoder: TextEncoder | None = encoder
        self._rerank = rerank
        self.pictures: list[Told] = []
        self.vectors: list[Vectors] = []
        self.counts: list[npt.NDArray[np.int64]] = []

    def update(self, pictures: Sequence[Told], found: pa.Array) -> None:
        """See `Judge`; null is a picture that is not found, and finds nothing."""
        vectors, counts = unpacked(found)
        self.pictures += pictures
        self.vectors.append(vectors)
        self.counts.append(counts)

    def merge(self, other: "RetrievalJudge") -> None:
        """See `Judge`."""
        self.pictures += other.pictures
        self.vectors += other.vectors
        self.counts += other.counts

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the encoder: who judges a share embeds no texts."""
        return {**vars(self), "_encoder": None}

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """See `Judge`; UserError where texts and pictures have vectors of another length."""
        assert self._encoder is not None, "this judge is one of a share: merge it into its own"
        names = [str(one.path) for one in self.pictures]
        captions = [text for one in self.pictures for text in one.captions]
        counts_of = [len(one.captions) for one in self.pictures]
        owners = np.repeat(np.arange(len(names)), counts_of)
        vectors, counts = np.concatenate(self.vectors), np.concatenate(self.counts)
        texts = self._encoder.embed_text(captions)
        if texts.shape[1] != vectors.shape[1]:
            raise UserError(
                f"the pictures have vectors of {vectors.shape[1]} numbers, and the texts of "
                f"{texts.shape[1]}: take the text model that belongs to them"
            )

        def columns(some: slice) -> Vectors:
            return similarities(vectors, counts, texts[some])

        ranks = both_ranks(columns, owners, len(names))
        if self._rerank is not None and isinstance(self._encoder, Matcher):
            pairs = candidates(columns, len(names), len(captions), self._rerank)
            found = scores(self._encoder, self._views(), captions, pairs)
            ranks = reranked(ranks, pairs, found, owners)
        evaluator = RetrievalEvaluator()
        evaluator.update_both(
            names,
            [f"{names[owner]}#{number}" for number, owner in enumerate(owners)],
            ranks,
            owners,
            [kinds_of(one) for one in self.pictures],
        )
        notes = null_notes(int((counts == 0).sum()), "a picture that is never found")
        return of_one("retrieval", evaluator, bootstrap, slices, notes)

    def _views(self) -> Iterator[Image]:
        """Yield what the model sees of each picture; it has looked at each of them before."""
        assert isinstance(self._encoder, ImageEncoder)
        for one in self.pictures:
            yield draw_view(one.path, self._encoder.view).pixels


def unpacked(found: pa.Array) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Return all vectors `(V, D)` of a column of one or several, and how many each picture has."""
    several = not pa.types.is_fixed_size_list(found.type)
    flat = found.flatten() if several else found.drop_null()
    counts = lengths(found) if several else pc.is_valid(found).to_numpy(zero_copy_only=False)
    numbers = flat.flatten().to_numpy(zero_copy_only=False)
    return numbers.astype(np.float32).reshape(-1, flat.type.list_size), counts.astype(np.int64)


def similarities(
    vectors: Vectors, counts: npt.NDArray[np.int64], texts: Vectors, max_cells: int = MAX_CELLS
) -> Vectors:
    """Return `(P, T)` the best cosine of each picture's vectors; minus infinity where it has none.

    `vectors` are `(V, D)`, `counts` `(P,)` of them belong to each picture; `texts` `(T, D)`. About
    `max_cells` cosines of single vectors are held at once.
    """
    found = np.full((len(counts), len(texts)), -np.inf, np.float32)
    has_some = counts > 0
    if has_some.any():
        starts = np.cumsum(counts[has_some]) - counts[has_some]
        step = max(1, max_cells // len(vectors))
        for start in range(0, len(texts), step):
            part = slice(start, start + step)
            found[has_some, part] = np.maximum.reduceat(vectors @ texts[part].T, starts, axis=0)
    return found
