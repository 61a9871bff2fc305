"""Judging answers to questions."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.labels import null_notes
from lakesight.evaluation.result import Evaluation, of_one
from lakesight.evaluation.truth import kinds_of
from lakesight.metrics import AnswerEvaluator, Bootstrap
from lakesight.training.blip2.texts import Question, Told

Given = Mapping[str, str | None]
"""Answers by question."""


class AnswerJudge:
    """Judges the answers to the questions of the data; which answers which is told by its words."""

    def __init__(self) -> None:
        self._evaluator = AnswerEvaluator()
        self._unasked: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._num_null = 0

    def update(self, pictures: Sequence[Told], found: pa.Array) -> None:
        """See `Judge`; null is a picture of which nothing was answered."""
        for picture, answers in zip(pictures, found.to_pylist(), strict=True):
            if answers is None:
                self._num_null += 1
                self._judge(picture, list(enumerate(picture.questions)), {})
                continue
            given = {one["question"].strip(): one["answer"] for one in reversed(answers)}
            wanted = {one.text.strip() for one in picture.questions}
            self._unasked.update(wanted - given.keys())
            self._unknown.update(given.keys() - wanted)
            asked = enumerate(picture.questions)
            self._judge(picture, [each for each in asked if each[1].text.strip() in given], given)

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """See `Judge`; UserError where none of the questions was asked."""
        if not len(self._evaluator) and self._unasked:
            others = f", but others such as {_first(self._unknown)!r}" if self._unknown else ""
            raise UserError(
                f"none of the questions of the labels, such as {_first(self._unasked)!r}, was "
                f"answered{others}: ask in the very words of the labels"
            )
        notes = (
            *_notes(self._unasked, "questions of the labels were not asked"),
            *_notes(self._unknown, "questions that were answered are not of the labels"),
            *null_notes(self._num_null, "no answer to any of its questions"),
        )
        return of_one("answers", self._evaluator, bootstrap, slices, notes)

    def _judge(
        self, picture: Told, questions: Sequence[tuple[int, Question]], given: Given
    ) -> None:
        name, kinds = str(picture.path), kinds_of(picture)
        asked = [one for _, one in questions]
        self._evaluator.update(
            [f"{name}#{number}" for number, _ in questions],
            [given.get(one.text.strip()) for one in asked],
            [one.answers for one in asked],
            [kinds | ({"kind": one.kind} if one.kind else {}) for one in asked],
            pictures=[name] * len(asked),
        )


def _notes(questions: Counter[str], what: str) -> tuple[str, ...]:
    """Say how many questions do not count."""
    if not questions:
        return ()
    return (f"{questions.total():,} {what}, such as {_first(questions)!r}: they do not count",)


def _first(questions: Counter[str]) -> str:
    return min(questions)
