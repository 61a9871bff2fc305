"""The figures of an evaluation of language: as numbers, as JSON and as a text table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lakesight.metrics.bootstrap import Bootstrap, Interval
from lakesight.metrics.objects import Floats
from lakesight.metrics.text import aligned


@dataclass(frozen=True)
class LanguageResult:
    """Figures by name; NaN where nothing was judged."""

    counts: Mapping[str, int]
    """How many of what were judged, such as `{"pictures": 5000}`."""
    values: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """Of figures by name, where a `Bootstrap` was given."""
    headline: str = ""
    """Name of the figure that stands for all: `cider_d`, `accuracy`, `text_to_image_r1`."""

    @property
    def main(self) -> float:
        """The figure that stands for all; NaN where nothing was judged."""
        return self.values.get(self.headline, float("nan"))

    def figures(self) -> dict[str, float]:
        """Return the figures by name."""
        return dict(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; None for NaN and for what is infinite."""
        plain: dict[str, Any] = {f"num_{name}": count for name, count in self.counts.items()}
        for name, value in self.values.items():
            plain[name] = value if np.isfinite(value) else None
        intervals = {name: one.to_list() for name, one in self.intervals.items()}
        return plain | ({"intervals": intervals} if intervals else {})

    def table(self) -> str:
        """Return the figures as plain text, one line each."""
        judged = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        rows: list[tuple[str | float, ...]] = [("", "", "from", "to") if self.intervals else ("",)]
        for name, value in self.values.items():
            one = self.intervals.get(name)
            rows.append((name, value, *((one.low, one.high) if one else ())))
        return "\n".join([judged, *aligned(rows)])


def summarised(
    names: Sequence[str],
    stats: Floats,
    combine: Callable[[Floats], Floats],
    bootstrap: Bootstrap | None,
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return figures by name, and their intervals.

    `stats` is `(pictures, S)`, what each picture adds; `combine` makes `(R, figures)` of sums
    `(R, S)`. Draws depend on the order of the pictures.
    """
    values = combine(stats.sum(axis=0, keepdims=True))[0]
    intervals: list[Interval] = []
    if bootstrap and len(stats):
        intervals = bootstrap.intervals(len(stats), lambda drawn: combine(drawn @ stats))
    return dict(zip(names, values.tolist(), strict=True)), dict(zip(names, intervals, strict=False))


def divided(sums: Floats, counts: Floats) -> Floats:
    """Return sums by counts, NaN where nothing was counted."""
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
