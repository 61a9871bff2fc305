"""Judging captions."""

from collections.abc import Sequence

import pyarrow as pa

from lakesight.evaluation.labels import null_notes
from lakesight.evaluation.result import Evaluation, of_one
from lakesight.evaluation.texts import Texts
from lakesight.evaluation.truth import kinds_of
from lakesight.metrics import Bootstrap, CaptionEvaluator
from lakesight.training.blip2.texts import Told


class CaptionJudge:
    """Judges one caption a picture; of several the first, which is the best."""

    def __init__(self, dataset: Texts) -> None:
        self.evaluator = CaptionEvaluator(extra=dataset.extra)
        self.num_blank = 0

    def update(self, pictures: Sequence[Told], found: pa.Array) -> None:
        """See `Judge`; null is a caption without a word."""
        captions = [_first(value) for value in found.to_pylist()]
        self.num_blank += captions.count(None)
        self.evaluator.update(
            [str(one.path) for one in pictures],
            [caption or "" for caption in captions],
            [one.captions for one in pictures],
            [kinds_of(one) for one in pictures],
        )

    def merge(self, other: "CaptionJudge") -> None:
        """See `Judge`."""
        self.evaluator.merge(other.evaluator)
        self.num_blank += other.num_blank

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """See `Judge`."""
        notes = null_notes(self.num_blank, "a caption without a word")
        return of_one("captions", self.evaluator, bootstrap, slices, notes)


def _first(value: str | list[dict[str, str]] | None) -> str | None:
    """Return the best of what was written; None where nothing was."""
    if isinstance(value, list):
        return value[0]["text"] if value else None
    return value
