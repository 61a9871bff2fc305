"""Judging answers to questions about pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lakesight.metrics.bootstrap import Bootstrap
from lakesight.metrics.language.answers import squad_words, token_f1, vqa_accuracy, vqa_answer
from lakesight.metrics.language.checks import check_lengths, check_references
from lakesight.metrics.language.result import LanguageResult, divided, summarised
from lakesight.metrics.objects import Floats, Key
from lakesight.metrics.pictures import Pictures, grouped

NAMES = ("accuracy", "exact_match", "f1")


class AnswerEvaluator:
    """Judges answers by what people, or a generated scene, said.

        evaluator = AnswerEvaluator()
        evaluator.update([17], ["two"], [["2"] * 9 + ["3"]], slices=[{"kind": "count"}])
        print(evaluator.result(Bootstrap()).table())

    Figures: `accuracy`, VQA's, see `vqa_accuracy`: of ten answers the official one, of one answer
    whether it is the same. `exact_match` and `f1` are SQuAD's, of the reference that fits best.

    Both sides are always made comparable (`vqa_answer`). The official program leaves what people
    answered as it is where all ten said the same, and otherwise only mends its punctuation: its
    data is published as it should be.

    Updates may come in any order, and evaluators be merged: see `DetectionEvaluator`.
    """

    def __init__(self) -> None:
        self.questions = Pictures()
        """What has been asked; not pictures, but as with these each counts once."""
        self._pictures: list[Key] = []
        self._scores: list[Floats] = []

    def __len__(self) -> int:
        return len(self.questions)

    def update(
        self,
        questions: Sequence[Key],
        answers: Sequence[str | None],
        references: Sequence[Sequence[str]],
        slices: Sequence[Mapping[str, str]] | None = None,
        *,
        pictures: Sequence[Key] | None = None,
    ) -> None:
        """Add questions: a model's answer, and one or more that are right, of each.

        None is no answer, which is wrong. `pictures` says of which picture each is: draws are then
        of pictures, with all that was asked of them. UserError, and nothing added, where numbers
        differ, a question has no reference, or was added before.
        """
        about = questions if pictures is None else pictures
        check_lengths(questions, answers=answers, references=references, pictures=about)
        check_references(questions, references)
        scores = [_score(answer, texts) for answer, texts in zip(answers, references, strict=True)]
        self.questions.add(questions, slices)
        self._pictures += about
        self._scores.append(np.array(scores, np.float64).reshape(len(scores), len(NAMES)))

    def merge(self, other: "AnswerEvaluator") -> None:
        """Add another's questions; UserError where one is in both."""
        pictures, scores = other.rows()
        self.questions.merge(other.questions)
        self._pictures += pictures
        self._scores.append(scores)

    def rows(self) -> tuple[list[Key], Floats]:
        """Return the picture and the figures `(N, 3)` of each question, as they came."""
        return list(self._pictures), np.concatenate([np.zeros((0, len(NAMES))), *self._scores])

    def result(self, bootstrap: Bootstrap | None = None) -> LanguageResult:
        """Return the figures so far; with a `Bootstrap`, their intervals too."""
        return self._of(self.questions.order(), bootstrap)

    def slices(self, name: str, bootstrap: Bootstrap | None = None) -> dict[str, LanguageResult]:
        """Return the figures of the questions of each kind; UserError where none has the name."""
        order = self.questions.order()
        return {
            kind: self._of(order[chosen[order]], bootstrap)
            for kind, chosen in self.questions.kinds(name).items()
        }

    def _of(self, rows: npt.NDArray[np.intp], bootstrap: Bootstrap | None) -> LanguageResult:
        pictures, scores = self.rows()
        stats = np.concatenate([np.ones((len(rows), 1)), scores[rows]], axis=1)
        added = grouped([pictures[row] for row in rows], stats)
        values, intervals = summarised(NAMES, added, _means, bootstrap)
        counts = {"questions": len(rows), "pictures": len(added)}
        return LanguageResult(counts, values, intervals, headline="accuracy")


def _score(answer: str | None, references: Sequence[str]) -> tuple[float, float, float]:
    if answer is None:
        return 0.0, 0.0, 0.0
    words = squad_words(answer)
    others = [squad_words(one) for one in references]
    accuracy = vqa_accuracy(vqa_answer(answer), [vqa_answer(one) for one in references])
    return accuracy, float(words in others), max(token_f1(words, one) for one in others)


def _means(sums: Floats) -> Floats:
    return divided(sums[:, 1:], sums[:, :1])
