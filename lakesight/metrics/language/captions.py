"""Judging captions against those that people wrote."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.bootstrap import Bootstrap
from lakesight.metrics.language.bleu import NUM_COUNTS, bleu, bleu_counts
from lakesight.metrics.language.checks import check_lengths, check_references
from lakesight.metrics.language.cider import DocumentFrequency, cider
from lakesight.metrics.language.java import JavaMetric, check_java
from lakesight.metrics.language.meteor import NUM_STATS, meteor, meteor_stats
from lakesight.metrics.language.ngrams import NGrams, ngrams
from lakesight.metrics.language.result import LanguageResult, divided, summarised
from lakesight.metrics.language.rouge import rouge_l
from lakesight.metrics.language.spice import spice
from lakesight.metrics.language.tokens import tokenize
from lakesight.metrics.objects import Floats, Key
from lakesight.metrics.pictures import Pictures

NAMES = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d", "cider")


class CaptionEvaluator:
    """Judges captions as the published caption evaluation does.

        evaluator = CaptionEvaluator()
        evaluator.update(["a.jpg"], ["a cat on a mat"], [["A cat sits on a mat.", "A cat."]])
        print(evaluator.result(Bootstrap()).table())

    Figures: `bleu1` to `bleu4` of the whole set, means of `rouge_l`, of `cider_d` (what that
    evaluation calls CIDEr, 0 to 10) and of plain `cider` (0 to 1); `meteor` and `spice` where
    `extra` names them, which need Java and the extra "captions".

    CIDEr weighs word runs by how many pictures' references have them: of all pictures judged, in a
    slice and in a draw too, or of the `frequency` given (see `document_frequency`). Of a single
    picture it is 0.

    Updates may come in any order, and evaluators be merged: see `DetectionEvaluator`.
    """

    def __init__(
        self, *, frequency: DocumentFrequency | None = None, extra: Sequence[JavaMetric] = ()
    ) -> None:
        """Raise UserError where what an extra metric needs is missing."""
        for metric in extra:
            check_java(metric)
        self.extra = tuple(extra)
        self.frequency = frequency
        self.pictures = Pictures()
        """What has been seen."""
        self._captions: list[list[str]] = []
        self._references: list[list[list[str]]] = []
        self._stats: Floats | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def update(
        self,
        pictures: Sequence[Key],
        captions: Sequence[str],
        references: Sequence[Sequence[str]],
        slices: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Add pictures: a model's caption, and one or more that are right, of each.

        UserError, and nothing added, where numbers differ, a picture has no reference, or was added
        before.
        """
        check_lengths(pictures, captions=captions, references=references)
        check_references(pictures, references)
        found = [tokenize(caption) for caption in captions]
        wanted = [[tokenize(one) for one in texts] for texts in references]
        self.pictures.add(pictures, slices)
        self._captions += found
        self._references += wanted
        self._stats = None

    def merge(self, other: "CaptionEvaluator") -> None:
        """Add another's pictures; UserError where options differ or a picture is in both."""
        if (self.extra, self.frequency) != (other.extra, other.frequency):
            raise UserError("evaluators that are merged must have the same extra and frequency")
        captions, references = other.words()
        self.pictures.merge(other.pictures)
        self._captions += captions
        self._references += references
        self._stats = None

    def words(self) -> tuple[list[list[str]], list[list[list[str]]]]:
        """Return the words of all captions and of their references, as they came."""
        return list(self._captions), list(self._references)

    def result(self, bootstrap: Bootstrap | None = None) -> LanguageResult:
        """Return the figures so far; with a `Bootstrap`, their intervals too."""
        return self._of(self.pictures.order(), bootstrap)

    def slices(self, name: str, bootstrap: Bootstrap | None = None) -> dict[str, LanguageResult]:
        """Return the figures of the pictures of each kind; UserError where none has the name."""
        order = self.pictures.order()
        return {
            kind: self._of(order[chosen[order]], bootstrap)
            for kind, chosen in self.pictures.kinds(name).items()
        }

    def _of(self, rows: npt.NDArray[np.intp], bootstrap: Bootstrap | None) -> LanguageResult:
        if self._stats is None:
            self._stats = self._measure()
        names = (*NAMES, *self.extra)
        values, intervals = summarised(names, self._stats[rows], self._combine, bootstrap)
        return LanguageResult({"pictures": len(rows)}, values, intervals, headline="cider_d")

    def _measure(self) -> Floats:
        """Return `(N, S)`: what each picture adds to the figures, as they came."""
        found = [ngrams(words) for words in self._captions]
        wanted = [[ngrams(words) for words in texts] for texts in self._references]
        frequency = self.frequency or _counted(wanted)
        pairs = list(zip(self._captions, self._references, strict=True))
        columns = [
            np.ones((len(pairs), 1)),
            _table([bleu_counts(*one) for one in zip(found, wanted, strict=True)], NUM_COUNTS),
            _table([[rouge_l(*one)] for one in pairs], 1),
            _table(cider(found, wanted, frequency), 2),
        ]
        if "meteor" in self.extra:
            columns.append(meteor_stats(self._captions, self._references))
        if "spice" in self.extra:
            scores = spice(self._captions, self._references)
            columns.append(np.stack([np.nan_to_num(scores), ~np.isnan(scores)], axis=1))
        return np.concatenate(columns, axis=1)

    def _combine(self, sums: Floats) -> Floats:
        """Return `(R, figures)` of sums of `_measure`."""
        count, counts, means, rest = np.split(sums, [1, 1 + NUM_COUNTS, 4 + NUM_COUNTS], axis=1)
        figures = [np.where(count > 0, bleu(counts), np.nan), divided(means, count)]
        for metric in self.extra:
            if metric == "meteor":
                figures.append(np.where(count > 0, meteor(rest[:, :NUM_STATS])[:, None], np.nan))
            else:
                figures.append(divided(rest[:, -2:-1], rest[:, -1:]))
        return np.concatenate(figures, axis=1)


def document_frequency(references: Sequence[Sequence[str]]) -> DocumentFrequency:
    """Return the frequencies of a corpus: the captions of each of its pictures."""
    return _counted([[ngrams(tokenize(one)) for one in texts] for texts in references])


def _counted(references: Sequence[Sequence[NGrams]]) -> DocumentFrequency:
    frequency = DocumentFrequency()
    for texts in references:
        frequency.add(texts)
    return frequency


def _table(rows: Sequence[Sequence[float]], width: int) -> Floats:
    return np.array(rows, np.float64).reshape(len(rows), width)
