"""What was taken for what: a matrix of true and found classes, with a background."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.metrics.gather import Gathered
from lakesight.metrics.objects import Flags, Floats, Ids
from lakesight.metrics.overlap import Pairs, overlapping
from lakesight.metrics.rules import Rules

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each true class was found as each class."""

    labels: tuple[str, ...]
    """Of rows and columns; for detections the last is `background`."""
    counts: npt.NDArray[np.int64]
    """Rows are true, columns found. The background's row holds what is not there and was found, its
    column what was missed."""
    iou: float | None = None
    """Overlap from which two objects are one; None where whole pictures are classified."""
    confidence: float | None = None
    """Least score of a detection that is counted."""

    def normalised(self) -> Floats:
        """Return the counts as parts of their row; a row without counts is 0."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.counts / np.maximum(totals, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        return {
            "labels": list(self.labels),
            "counts": self.counts.tolist(),
            "iou": self.iou,
            "confidence": self.confidence,
        }


def confused(found: Gathered, truth: Gathered, rules: Rules) -> Ids:
    """Return `(C, 3)` rows of picture, true class and found class, the background being last.

    Pairs of any classes are joined by falling overlap, each object at most once; of equal overlaps
    the pair of one class first, then the higher score. What is left over lies in the background.
    Truth that is ignored is left out, and so is an unmatched detection that lies on it.
    """
    background = len(rules.labels)
    found = found.take(np.flatnonzero(found.scores >= rules.confusion_confidence))
    pairs = overlapping(found, truth, found.pictures, truth.pictures, rules)
    pairs = pairs.take(pairs.overlap >= rules.confusion_iou)
    excused = truth.ignored[pairs.truth]
    joined = _join(_by_worth(pairs.take(~excused), found, truth), len(found), len(truth))
    lost = np.flatnonzero(~_marked(joined.truth, len(truth)) & ~truth.ignored)
    on_ignored = _marked(pairs.found[excused], len(found))
    extra = np.flatnonzero(~_marked(joined.found, len(found)) & ~on_ignored)
    return np.concatenate(
        [
            _rows(truth.pictures[joined.truth], truth.class_ids[joined.truth], found, joined.found),
            np.stack([truth.pictures[lost], truth.class_ids[lost], _all(background, lost)], axis=1),
            _rows(found.pictures[extra], _all(background, extra), found, extra),
        ]
    )


def confusion(rows: Ids, rules: Rules) -> Confusion:
    """Return the matrix of `confused` rows."""
    size = len(rules.labels) + 1
    counts = np.bincount(rows[:, 1] * size + rows[:, 2], minlength=size * size)
    return Confusion(
        labels=(*rules.labels, BACKGROUND),
        counts=counts.reshape(size, size),
        iou=rules.confusion_iou,
        confidence=rules.confusion_confidence,
    )


def _by_worth(pairs: Pairs, found: Gathered, truth: Gathered) -> Pairs:
    differ = found.class_ids[pairs.found] != truth.class_ids[pairs.truth]
    return pairs.take(np.lexsort((-found.scores[pairs.found], differ, -pairs.overlap)))


def _join(pairs: Pairs, num_found: int, num_truth: int) -> Pairs:
    """Return the pairs that a walk from the first to the last joins, each object at most once.

    In rounds: a pair that is first for both of its objects is joined for certain.
    """
    joined = np.zeros(0, np.intp)
    left = np.arange(len(pairs.found))
    while len(left):
        found, truth = pairs.found[left], pairs.truth[left]
        sure = _is_first(found) & _is_first(truth)
        joined = np.concatenate([joined, left[sure]])
        gone = _marked(found[sure], num_found)[found] | _marked(truth[sure], num_truth)[truth]
        left = left[~gone]
    return pairs.take(joined)


def _is_first(values: npt.NDArray[np.intp]) -> Flags:
    """Return which values have not come before."""
    return _marked(np.unique(values, return_index=True)[1], len(values))


def _marked(indices: npt.NDArray[np.intp], count: int) -> Flags:
    """Return `(count,)` flags, set at the indices."""
    flags = np.zeros(count, bool)
    flags[indices] = True
    return flags


def _rows(
    pictures: Ids, true_ids: Ids, found: Gathered, indices: npt.NDArray[np.intp]
) -> npt.NDArray[np.int64]:
    return np.stack([pictures, true_ids, found.class_ids[indices]], axis=1)


def _all(value: int, like: npt.NDArray[np.intp]) -> Ids:
    return np.full(len(like), value, np.int64)
