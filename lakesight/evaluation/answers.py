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
        self.evaluator = AnswerEvaluator()
        self.unasked: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.num_null = 0

    def update(self, pictures: Sequence[Told], found: pa.Array) -> None:
        """See `Judge`; null is a picture of which nothing was answered."""
        for picture, answers in zip(pictures, found.to_pylist(), strict=True):
            if answers is None:
                self.num_null += 1
                self._judge(picture, list(enumerate(picture.questions)), {})
                continue
            given = {one["question"].strip(): one["answer"] for one in reversed(answers)}
            wanted = {one.text.strip() for one in picture.questions}
            self.unasked.update(wanted - given.keys())
            self.unknown.update(given.keys() - wanted)
            asked = enumerate(picture.questions)
            self._judge(picture, [each for each in asked if each[1].text.strip() in given], given)

    def merge(self, other: "AnswerJudge") -> None:
        """See `Judge`."""
        self.evaluator.merge(other.evaluator)
        self.unasked.update(other.unasked)
        self.unknown.update(other.unknown)
        self.num_null += other.num_null

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """See `Judge`; UserError where none of the questions was asked."""
        if not len(self.evaluator) and self.unasked:
            others = f", but others such as {_first(self.unknown)!r}" if self.unknown else ""
            raise UserError(
                f"none of the questions of the labels, such as {_first(self.unasked)!r}, was "
                f"answered{others}: ask in the very words of the labels"
            )
        notes = (
            *_notes(self.unasked, "questions of the labels were not asked"),
            *_notes(self.unknown, "questions that were answered are not of the labels"),
            *null_notes(self.num_null, "no answer to any of its questions"),
        )
        return of_one("answers", self.evaluator, bootstrap, slices, notes)

    def _judge(
        self, picture: Told, questions: Sequence[tuple[int, Question]], given: Given
    ) -> None:
        name, kinds = str(picture.path), kinds_of(picture)
        asked = [one for _, one in questions]
        self.evaluator.update(
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
