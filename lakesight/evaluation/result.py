"""What an evaluation found: as numbers, as JSON, as plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lakesight.metrics import (
    Bootstrap,
    ClassificationResult,
    Confusion,
    DetectionResult,
    LanguageResult,
    MultiLabelResult,
)
from lakesight.metrics.text import aligned

Result = DetectionResult | ClassificationResult | MultiLabelResult | LanguageResult
Results = Mapping[str, Result]
"""By what was compared: `box`, `mask`, `keypoints`, `rotated`, `classes`; `captions`, `answers`,
`retrieval`."""

MOST_CONFUSED = 5


@dataclass(frozen=True)
class Evaluation:
    """How good a model is."""

    results: Results
    slices: Mapping[str, Mapping[str, Results]] = field(default_factory=dict)
    """The same of the pictures of each kind, by the slice's name, then its value."""
    notes: tuple[str, ...] = ()
    """What was left out or counted as not found, and how much of it; a sentence each."""

    @property
    def fitness(self) -> float:
        """One number to compare two models by: see `fitness`."""
        return fitness(self.results)

    def figures(self) -> dict[str, float]:
        """Return the main figures by name, such as `box/map50`, and `fitness`; all are finite.

        They are what a model card's `metrics` hold.
        """
        found = {
            f"{name}/{figure}": value
            for name, result in self.results.items()
            for figure, value in _figures(result).items()
            if np.isfinite(value)
        }
        return found | {"fitness": self.fitness}

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        slices = {
            name: {kind: _plain(results) for kind, results in kinds.items()}
            for name, kinds in self.slices.items()
        }
        return {
            "fitness": self.fitness,
            "results": _plain(self.results),
            "slices": slices,
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """Return the results as plain text."""
        parts = [_with_confusion(result) for result in self.results.values()]
        parts += [_slice_table(name, kinds) for name, kinds in self.slices.items()]
        return "\n\n".join(parts)


def fitness(results: Results) -> float:
    """Return mAP50-95, top-1, or the mAP of several classes; 0 where nothing is known.

    Of captions CIDEr-D, of answers VQA accuracy, of a search Recall@1 of pictures. Of the shape
    that the task is about: of a segment model the masks.
    """
    value = main_figure(list(results.values())[-1])
    return 0.0 if np.isnan(value) else value


def main_figure(result: Result) -> float:
    """Return the one figure that stands for a result; NaN where nothing is known."""
    if isinstance(result, LanguageResult):
        return result.main
    return result.top1 if isinstance(result, ClassificationResult) else result.map


class Evaluator(Protocol):
    """What adds up pictures to one result: see `lakesight.metrics`."""

    def result(self, *, bootstrap: Bootstrap | None = None) -> Result:
        """Return the figures so far."""
        ...

    def slices(self, name: str, *, bootstrap: Bootstrap | None = None) -> Mapping[str, Result]:
        """Return the figures of the pictures of each kind."""
        ...


def of_one(
    name: str,
    evaluator: Evaluator,
    bootstrap: Bootstrap | None,
    slices: Sequence[str],
    notes: tuple[str, ...],
) -> Evaluation:
    """Return what one evaluator found, by what was compared."""
    return Evaluation(
        {name: evaluator.result(bootstrap=bootstrap)},
        {one: by_kind({name: evaluator.slices(one, bootstrap=bootstrap)}) for one in slices},
        notes,
    )


def by_kind(shapes: Mapping[Any, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return `{shape: {kind: result}}` as `{kind: {shape: result}}`."""
    kinds = next(iter(shapes.values()))
    return {kind: {shape: found[kind] for shape, found in shapes.items()} for kind in kinds}


def _plain(results: Results) -> dict[str, Any]:
    return {name: result.to_dict() for name, result in results.items()}


def _slice_table(name: str, kinds: Mapping[str, Results]) -> str:
    """Return a line for each kind of pictures."""
    first = next(iter(kinds.values()))
    counted, _ = _count(next(iter(first.values())))
    rows: list[tuple[str | float, ...]] = [(name, *map(_title, first, first.values()), counted)]
    for kind, results in kinds.items():
        figures = [main_figure(result) for result in results.values()]
        rows.append((kind, *figures, _count(next(iter(results.values())))[1]))
    return "\n".join(aligned(rows))


def _title(shape: str, result: Result) -> str:
    """Return what the main figure is called: of objects and classes, what was compared."""
    return result.headline if isinstance(result, LanguageResult) else shape


def _count(result: Result) -> tuple[str, int]:
    """Return what was judged, and how many."""
    if isinstance(result, LanguageResult):
        return next(iter(result.counts.items()))
    return "pictures", result.num_pictures


def _figures(result: Result) -> dict[str, float]:
    """Return the figures by name, where they are known."""
    if isinstance(result, LanguageResult):
        return result.figures()
    names = ("map", "map50", "top1", "top5", "macro_f1")
    values = {name: getattr(result, name, None) for name in names}
    return {name: float(value) for name, value in values.items() if value is not None}


def _with_confusion(result: Result) -> str:
    if not isinstance(result, DetectionResult | ClassificationResult):
        return result.table()
    pairs = _most_confused(result.confusion)
    return f"{result.table()}\n\nmost confused: {pairs}" if pairs else result.table()


def _most_confused(confusion: Confusion) -> str:
    """Return the classes that were most often taken for another, the true one first."""
    counts = confusion.counts.copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSED]
    pairs = [divmod(int(place), len(confusion.labels)) for place in order if counts.flat[place]]
    names = confusion.labels
    return ", ".join(
        f"{names[true]} as {names[found]} {counts[true, found]:,}" for true, found in pairs
    )
