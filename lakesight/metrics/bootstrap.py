"""Confidence intervals: what the figures would be on other pictures of the same kind.

Pictures are drawn with replacement (Efron, "Bootstrap methods", 1979), not objects: those of one
picture depend on each other. Matching is within pictures, so a draw only weighs them anew.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from lakesight.metrics.objects import Floats
from lakesight.metrics.precision import Ranked, average_precision, mean_of_known
from lakesight.metrics.rules import AT_50, AT_75
from lakesight.models.base import Frozen

ROWS = 64
"""Draws that are looked at at once; part of what a seed means."""

MAX_CELLS = 1 << 22
"""Draws times detections that are held at once."""


class Bootstrap(Frozen):
    """How intervals are drawn."""

    resamples: int = Field(default=1000, ge=1)
    level: float = Field(default=0.95, gt=0, lt=1)
    """Part of the draws inside an interval; as many lie below as above (percentile method)."""
    seed: int = Field(default=0, ge=0)

    def weights(self, num_pictures: int) -> Iterator[Floats]:
        """Yield `(R, num_pictures)` counts of how often each picture was drawn."""
        rng = np.random.default_rng(self.seed)
        chances = np.full(num_pictures, 1 / max(num_pictures, 1))
        for start in range(0, self.resamples, ROWS):
            rows = min(ROWS, self.resamples - start)
            yield rng.multinomial(num_pictures, chances, size=rows).astype(np.float64)

    def interval(self, values: Floats) -> "Interval":
        """Return the interval of draws `(resamples,)`; a draw without truth (NaN) has no say."""
        known = values[~np.isnan(values)]
        if not len(known):
            return Interval(float("nan"), float("nan"))
        tail = (1 - self.level) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Interval(float(low), float(high))

    def intervals(self, num_pictures: int, figures: Callable[[Floats], Floats]) -> list["Interval"]:
        """Return the interval of each figure; `figures` makes `(R, figures)` of weights."""
        drawn = np.concatenate([figures(weights) for weights in self.weights(num_pictures)])
        return [self.interval(values) for values in drawn.T]


@dataclass(frozen=True)
class Interval:
    """Where a figure lies."""

    low: float
    high: float

    def to_list(self) -> list[float | None]:
        """Return low and high; None where they are not known."""
        return [None if np.isnan(value) else value for value in (self.low, self.high)]


@dataclass(frozen=True)
class Intervals:
    """The intervals of an evaluation's main figures."""

    bootstrap: Bootstrap
    map: Interval
    map50: Interval
    map75: Interval
    ap: tuple[Interval, ...]
    """Of each class."""
    ap50: tuple[Interval, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        return {
            **self.bootstrap.model_dump(),
            "map": self.map.to_list(),
            "map50": self.map50.to_list(),
            "map75": self.map75.to_list(),
            "ap": [interval.to_list() for interval in self.ap],
            "ap50": [interval.to_list() for interval in self.ap50],
        }


def draw_intervals(classes: Sequence[Ranked], num_pictures: int, bootstrap: Bootstrap) -> Intervals:
    """Return the intervals of mean and class average precision.

    A draw equals an evaluation of the drawn pictures, but where two detections of one class on one
    picture have equal scores, whose copies it keeps together.
    """

    def figures(weights: Floats) -> Floats:
        ap = np.stack([_in_slabs(ranked, weights) for ranked in classes], axis=1)  # (R, K, T)
        whole, at_50 = ap.mean(axis=2), ap[:, :, AT_50]
        means = [mean_of_known(values, axis=1) for values in (whole, at_50, ap[:, :, AT_75])]
        return np.concatenate([np.stack(means, axis=1), whole, at_50], axis=1)

    overall, at_50, at_75, *per_class = bootstrap.intervals(num_pictures, figures)
    return Intervals(
        bootstrap,
        map=overall,
        map50=at_50,
        map75=at_75,
        ap=tuple(per_class[: len(classes)]),
        ap50=tuple(per_class[len(classes) :]),
    )


def _in_slabs(ranked: Ranked, weights: Floats) -> Floats:
    """Return `average_precision`, a few rows at a time where a class has many detections."""
    rows = max(1, MAX_CELLS // max(len(ranked.pictures), 1))
    slabs = [weights[start : start + rows] for start in range(0, len(weights), rows)]
    return np.concatenate([average_precision(ranked, slab) for slab in slabs])
