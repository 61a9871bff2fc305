"""Precision, recall and F1 of each class over recall and over confidence: what one plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lakesight.metrics.matching import IGNORED, RIGHT
from lakesight.metrics.objects import Floats, Ids
from lakesight.metrics.precision import Ranked, best_beyond, mean_of_known
from lakesight.metrics.rules import ALL, AT_50, RECALL_POINTS

CONFIDENCES: Floats = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Operating:
    """What a class comes to when only detections from a confidence on are kept, at IoU 0.50."""

    confidence: float
    """That of the best F1; NaN where nothing was found, or nothing is to be found."""
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class Curves:
    """One row per class, at IoU 0.50 over objects of all sizes; NaN for a class without truth."""

    recall_points: Floats
    """`(101,)`."""
    precision_at_recall: Floats
    """`(classes, 101)`: the best precision at this recall or a higher one."""
    confidences: Floats
    """`(101,)`; the next three are of the detections that score as much or more."""
    precision: Floats
    """`(classes, 101)`; 1 where no detection scores so much."""
    recall: Floats
    f1: Floats

    @property
    def best_confidence(self) -> float:
        """The confidence at which the mean F1 of the classes is best; NaN without truth."""
        mean = mean_of_known(self.f1, axis=0)
        return float("nan") if np.isnan(mean).all() else float(self.confidences[mean.argmax()])

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; NaN becomes None."""
        return {name: listed(values) for name, values in vars(self).items()}


def listed(values: Floats) -> Any:
    """Return nested lists of an array, None for NaN."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


@dataclass(frozen=True)
class _Sweep:
    """Running totals over a class's detections by falling score, with 0 before the first."""

    scores: Floats
    right: Floats
    judged: Floats
    num_truth: int

    @property
    def precision(self) -> Floats:
        return np.where(self.judged > 0, self.right / np.maximum(self.judged, 1), 1)

    @property
    def recall(self) -> Floats:
        return self.right / self.num_truth if self.num_truth else np.full_like(self.right, np.nan)

    @property
    def f1(self) -> Floats:
        total = self.judged + self.num_truth
        f1 = 2 * self.right / np.maximum(total, 1)
        return f1 if self.num_truth else np.full_like(f1, np.nan)

    def kept(self, confidences: Floats) -> Ids:
        """Return how many detections score as much as each confidence, or more."""
        return np.searchsorted(-self.scores, -confidences, side="right")


def _sweep(ranked: Ranked) -> _Sweep:
    outcomes = ranked.outcomes[:, ALL, AT_50]
    return _Sweep(
        scores=ranked.scores,
        right=np.cumsum(np.append(0.0, outcomes == RIGHT)),
        judged=np.cumsum(np.append(0.0, outcomes != IGNORED)),
        num_truth=ranked.num_truth(),
    )


def curves(classes: Sequence[Ranked]) -> Curves:
    """Return the curves of all classes."""
    sweeps = [_sweep(ranked) for ranked in classes]
    kept = [sweep.kept(CONFIDENCES) for sweep in sweeps]
    pairs = list(zip(sweeps, kept, strict=True))
    return Curves(
        recall_points=RECALL_POINTS,
        precision_at_recall=np.stack([_at_recall(sweep) for sweep in sweeps]),
        confidences=CONFIDENCES,
        precision=np.stack([_known(sweep, sweep.precision)[count] for sweep, count in pairs]),
        recall=np.stack([sweep.recall[count] for sweep, count in pairs]),
        f1=np.stack([sweep.f1[count] for sweep, count in pairs]),
    )


def _known(sweep: _Sweep, values: Floats) -> Floats:
    return values if sweep.num_truth else np.full_like(values, np.nan)


def _at_recall(sweep: _Sweep) -> Floats:
    """Return `(101,)` interpolated precisions; 0 at a recall that is never reached."""
    if not sweep.num_truth:
        return np.full(len(RECALL_POINTS), np.nan)
    best = best_beyond(np.where(sweep.judged > 0, sweep.precision, 0)[1:])
    first = np.searchsorted(sweep.recall[1:], RECALL_POINTS, side="left")
    return np.append(best, 0)[first]


def operating_point(ranked: Ranked) -> Operating:
    """Return the confidence of the class's best F1; of equal ones the highest."""
    sweep = _sweep(ranked)
    if not len(sweep.scores) or not sweep.num_truth:
        return Operating(*(float("nan"),) * 4)
    # equal scores stand or fall together
    ends = np.flatnonzero(np.append(np.diff(sweep.scores) != 0, True)) + 1
    best = ends[sweep.f1[ends].argmax()]
    return Operating(
        confidence=float(sweep.scores[best - 1]),
        f1=float(sweep.f1[best]),
        precision=float(sweep.precision[best]),
        recall=float(sweep.recall[best]),
    )
