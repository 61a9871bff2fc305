"""Accuracy of one class per picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.bootstrap import Bootstrap, Interval
from lakesight.metrics.confusion import Confusion
from lakesight.metrics.objects import Floats, Ids, Key
from lakesight.metrics.pictures import Pictures
from lakesight.metrics.precision import mean_of_known
from lakesight.metrics.result import without_nan
from lakesight.metrics.text import aligned

TOP = 5


@dataclass(frozen=True, eq=False)
class ClassificationResult:
    """How often the true class was named; NaN where there is no picture."""

    num_pictures: int
    top1: float
    """Part of the pictures whose true class scores highest."""
    top5: float
    """Part of the pictures whose true class is among the best five."""
    mean_class_accuracy: float
    """Mean of `accuracy` over the classes that are there."""
    accuracy: Mapping[str, float]
    """By label: part of its pictures that were named so; NaN where it has none."""
    num_truth: Mapping[str, int]
    confusion: Confusion
    top1_interval: Interval | None = None
    top5_interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes, NaN as None."""
        intervals = {"top1_interval": self.top1_interval, "top5_interval": self.top5_interval}
        plain: dict[str, Any] = without_nan(vars(self) | {"confusion": self.confusion.to_dict()})
        return plain | {name: one and one.to_list() for name, one in intervals.items()}

    def table(self) -> str:
        """Return the figures as plain text, one line per class."""
        lines = [f"{self.num_pictures:,} pictures: top-1 {self.top1:.3f}, top-5 {self.top5:.3f}"]
        if self.top1_interval:
            lines.append(f"top-1 {self.top1_interval.low:.3f} to {self.top1_interval.high:.3f}")
        rows: list[tuple[str | float, ...]] = [("", "accuracy", "pictures")]
        rows += [(label, one, self.num_truth[label]) for label, one in self.accuracy.items()]
        return "\n".join([*lines, "", *aligned(rows)])


class ClassEvaluator:
    """Judges a classifier; of equal scores the class of the lower id is named first.

    Updates may come in any order, and evaluators be merged: see `DetectionEvaluator`.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.pictures = Pictures()
        """What has been seen."""
        self._rows: list[Ids] = []

    def __len__(self) -> int:
        return len(self.pictures)

    def update(
        self,
        pictures: Sequence[Key],
        true_ids: npt.ArrayLike,
        scores: npt.ArrayLike,
        slices: Sequence[Mapping[str, str]] | None = None,
        named: npt.ArrayLike = True,
    ) -> None:
        """Add pictures: their true classes `(N,)` and the scores `(N, classes)` of a model.

        `named` says `(N,)` for which of them the model named any class: of others no class is
        right, neither the best nor one of the best five. UserError where shapes differ, a score is
        not finite, or a picture was added before.
        """
        table = checked_scores(pictures, scores, self.labels)
        truth = _checked_ids(pictures, true_ids, self.labels)
        blank = np.flatnonzero(~np.broadcast_to(named, truth.shape))
        table[blank, truth[blank]] = -np.inf  # another one is taken for named
        ranks = _ranks(table, truth)
        ranks[blank] = max(TOP, len(self.labels))
        self.pictures.add(pictures, slices)
        self._rows.append(np.stack([truth, table.argmax(axis=1), ranks], axis=1))

    def merge(self, other: "ClassEvaluator") -> None:
        """Add another's pictures; UserError where labels differ or a picture is in both."""
        check_labels(self.labels, other.labels)
        rows = other.rows()
        self.pictures.merge(other.pictures)
        self._rows.append(rows)

    def rows(self) -> Ids:
        """Return `(N, 3)`: true class, named class and the true class's rank, as they came."""
        return np.concatenate([np.zeros((0, 3), np.int64), *self._rows])

    def result(self, bootstrap: Bootstrap | None = None) -> ClassificationResult:
        """Return the figures so far; with a `Bootstrap`, intervals of top-1 and top-5."""
        return _result(self.rows()[self.pictures.order()], self.labels, bootstrap)

    def slices(
        self, name: str, bootstrap: Bootstrap | None = None
    ) -> dict[str, ClassificationResult]:
        """Return the figures of the pictures of each kind; UserError where none has the name."""
        rows, order = self.rows(), self.pictures.order()
        return {
            kind: _result(rows[order[chosen[order]]], self.labels, bootstrap)
            for kind, chosen in self.pictures.kinds(name).items()
        }


def _result(
    rows: Ids, labels: tuple[str, ...], bootstrap: Bootstrap | None
) -> ClassificationResult:
    """Return the figures of `ClassEvaluator.rows`, in the order on which draws depend."""
    truth, named, ranks = rows.T
    counts = np.bincount(truth * len(labels) + named, minlength=len(labels) ** 2)
    matrix = counts.reshape(len(labels), len(labels))
    totals = matrix.sum(axis=1)
    accuracy = np.where(totals > 0, matrix.diagonal() / np.maximum(totals, 1), np.nan)
    right_nt = np.stack([ranks < 1, ranks < TOP], axis=1).astype(np.float64)  # (N, 2)
    top1, top5 = _parts(np.ones((1, len(rows))), right_nt)[0]
    intervals: list[Interval | None] = [None, None]
    if bootstrap:
        intervals[:] = bootstrap.intervals(len(rows), lambda drawn: _parts(drawn, right_nt))
    return ClassificationResult(
        num_pictures=len(rows),
        top1=float(top1),
        top5=float(top5),
        mean_class_accuracy=float(mean_of_known(accuracy)),
        accuracy=dict(zip(labels, accuracy.tolist(), strict=True)),
        num_truth=dict(zip(labels, totals.tolist(), strict=True)),
        confusion=Confusion(labels, matrix),
        top1_interval=intervals[0],
        top5_interval=intervals[1],
    )


def _parts(weights: Floats, right_nt: Floats) -> Floats:
    """Return `(R, 2)` weighted parts that are right; NaN without pictures."""
    total = weights.sum(axis=1, keepdims=True)
    return np.where(total > 0, weights @ right_nt / np.maximum(total, 1), np.nan)


def _checked_ids(pictures: Sequence[Key], true_ids: npt.ArrayLike, labels: Sequence[str]) -> Ids:
    truth = np.asarray(true_ids)
    if not truth.size and not len(pictures):
        return np.zeros(0, np.int64)
    wrong = truth.shape != (len(pictures),) or not np.issubdtype(truth.dtype, np.integer)
    if wrong or truth.min() < 0 or truth.max() >= len(labels):
        raise UserError(
            f"true_ids must be {len(pictures)} integers from 0 to {len(labels) - 1}, but got "
            f"{truth.dtype} of shape {truth.shape}: {truth.ravel()[:5].tolist()}"
        )
    return truth.astype(np.int64)


def _ranks(scores: Floats, truth: Ids) -> Ids:
    """Return how many classes are named before the true one."""
    own = scores[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(scores.shape[1]) < truth[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1))


def checked_scores(pictures: Sequence[Key], scores: npt.ArrayLike, labels: Sequence[str]) -> Floats:
    """Return a copy of scores `(N, classes)`; UserError for another shape, or one not finite."""
    table = np.array(scores, np.float64)
    if table.shape != (len(pictures), len(labels)):
        raise UserError(
            f"scores must have the shape {(len(pictures), len(labels))} (pictures, classes), but "
            f"got {table.shape}"
        )
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise UserError(f"scores must be finite, but picture {pictures[row]!r} has NaN or infinity")
    return table


def check_labels(labels: Sequence[str], others: Sequence[str]) -> None:
    """Refuse to merge evaluators of different labels."""
    if labels != others:
        raise UserError("evaluators that are merged must have the same labels in the same order")
