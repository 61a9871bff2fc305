"""Average precision and F1 where a picture has any number of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.bootstrap import Bootstrap, Interval
from lakesight.metrics.classes import check_labels, checked_scores
from lakesight.metrics.objects import Flags, Floats, Key
from lakesight.metrics.pictures import Pictures
from lakesight.metrics.precision import mean_of_known
from lakesight.metrics.result import without_nan
from lakesight.metrics.text import aligned


@dataclass(frozen=True)
class MultiLabelResult:
    """How well classes were told; NaN for a class that no picture has."""

    num_pictures: int
    threshold: float
    """A class is named where it scores as much or more."""
    map: float
    """Mean of `ap` over the classes that are there."""
    ap: Mapping[str, float]
    """Area under the steps of precision over recall, equal scores standing together."""
    f1: Mapping[str, float]
    macro_f1: float
    """Mean of `f1` over the classes that are there."""
    micro_f1: float
    """Of all classes' decisions together."""
    num_truth: Mapping[str, int]
    map_interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes, NaN as None."""
        plain: dict[str, Any] = without_nan(vars(self))
        plain["map_interval"] = self.map_interval and self.map_interval.to_list()
        return plain

    def table(self) -> str:
        """Return the figures as plain text, one line per class."""
        f1 = f"F1 at {self.threshold:g}: macro {self.macro_f1:.3f}, micro {self.micro_f1:.3f}"
        lines = [f"{self.num_pictures:,} pictures: mAP {self.map:.3f}, {f1}"]
        if self.map_interval:
            lines.append(f"mAP {self.map_interval.low:.3f} to {self.map_interval.high:.3f}")
        rows: list[tuple[str | float, ...]] = [("", "AP", "F1", "pictures")]
        rows += [(one, self.ap[one], self.f1[one], self.num_truth[one]) for one in self.ap]
        return "\n".join([*lines, "", *aligned(rows)])


class MultiLabelEvaluator:
    """Judges a classifier that may name any number of classes.

    Updates may come in any order, and evaluators be merged: see `DetectionEvaluator`.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.pictures = Pictures()
        """What has been seen."""
        self._truth: list[Flags] = []
        self._scores: list[Floats] = []

    def __len__(self) -> int:
        return len(self.pictures)

    def update(
        self,
        pictures: Sequence[Key],
        truth: npt.ArrayLike,
        scores: npt.ArrayLike,
        slices: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Add pictures: which classes they have, and a model's scores, both `(N, classes)`.

        UserError where shapes differ, a score is not finite, or a picture was added before.
        """
        table = checked_scores(pictures, scores, self.labels)
        flags = np.asarray(truth, bool)
        if flags.shape != table.shape:
            raise UserError(
                f"truth must have the shape {table.shape} (pictures, classes), but got "
                f"{flags.shape}: one flag for each class"
            )
        self.pictures.add(pictures, slices)
        self._truth.append(flags)
        self._scores.append(table)

    def merge(self, other: "MultiLabelEvaluator") -> None:
        """Add another's pictures; UserError where labels differ or a picture is in both."""
        check_labels(self.labels, other.labels)
        truth, scores = other.columns()
        self.pictures.merge(other.pictures)
        self._truth.append(truth)
        self._scores.append(scores)

    def columns(self) -> tuple[Flags, Floats]:
        """Return truth and scores of all pictures, `(N, classes)`, as they came."""
        nothing = np.zeros((0, len(self.labels)))
        return (
            np.concatenate([nothing.astype(bool), *self._truth]),
            np.concatenate([nothing, *self._scores]),
        )

    def result(
        self, threshold: float = 0.5, bootstrap: Bootstrap | None = None
    ) -> MultiLabelResult:
        """Return the figures so far; with a `Bootstrap`, the interval of the mAP."""
        return self._of(self.pictures.order(), threshold, bootstrap)

    def slices(
        self, name: str, threshold: float = 0.5, bootstrap: Bootstrap | None = None
    ) -> dict[str, MultiLabelResult]:
        """Return the figures of the pictures of each kind; UserError where none has the name."""
        order = self.pictures.order()
        return {
            kind: self._of(order[chosen[order]], threshold, bootstrap)
            for kind, chosen in self.pictures.kinds(name).items()
        }

    def _of(
        self, rows: npt.NDArray[np.intp], threshold: float, bootstrap: Bootstrap | None
    ) -> MultiLabelResult:
        truth, scores = self.columns()
        return _result(truth[rows], scores[rows], self.labels, threshold, bootstrap)


def _result(
    truth: Flags,
    scores: Floats,
    labels: tuple[str, ...],
    threshold: float,
    bootstrap: Bootstrap | None,
) -> MultiLabelResult:
    """Return the figures of pictures in the order on which draws depend."""
    ap = _class_precisions(truth, scores, np.ones((1, len(truth))))[0]
    named = scores >= threshold
    both, num_truth, num_named = (one.sum(axis=0) for one in (truth & named, truth, named))
    f1 = np.where(num_truth > 0, _f1(both, num_truth, num_named), np.nan)
    interval = None
    if bootstrap:
        (interval,) = bootstrap.intervals(
            len(truth), lambda drawn: _mean_precisions(truth, scores, drawn)
        )
    return MultiLabelResult(
        num_pictures=len(truth),
        threshold=threshold,
        map=float(mean_of_known(ap)),
        ap=dict(zip(labels, ap.tolist(), strict=True)),
        f1=dict(zip(labels, f1.tolist(), strict=True)),
        macro_f1=float(mean_of_known(f1)),
        micro_f1=float(_f1(both.sum(), num_truth.sum(), num_named.sum())),
        num_truth=dict(zip(labels, num_truth.tolist(), strict=True)),
        map_interval=interval,
    )


def _f1(both: Floats, num_truth: Floats, num_named: Floats) -> Floats:
    return np.asarray(2 * both / np.maximum(num_truth + num_named, 1))


def _mean_precisions(truth: Flags, scores: Floats, weights: Floats) -> Floats:
    """Return `(R, 1)` means over the classes."""
    return mean_of_known(_class_precisions(truth, scores, weights), axis=1)[:, None]


def _class_precisions(truth: Flags, scores: Floats, weights: Floats) -> Floats:
    """Return `(R, classes)` average precisions for weights `(R, pictures)`."""
    columns = zip(truth.T, scores.T, strict=True)
    return np.stack([_step_precision(*column, weights) for column in columns], axis=1)


def _step_precision(truth: Flags, scores: Floats, weights: Floats) -> Floats:
    """Return `(R,)` areas under the steps of precision over recall; NaN without truth."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    drawn = weights[:, order]
    named = np.cumsum(drawn, axis=1)[:, ends]
    right = np.cumsum(drawn * truth[order], axis=1)[:, ends]
    total = drawn @ truth[order].astype(np.float64)
    gain = np.diff(right, axis=1, prepend=0)
    area = (gain * right / np.maximum(named, 1)).sum(axis=1)
    return np.where(total > 0, area / np.maximum(total, 1), np.nan)
