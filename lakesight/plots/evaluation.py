"""What an evaluation found: curves of precision and recall, and what was taken for what."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lakesight.metrics import Confusion, DetectionResult
from lakesight.metrics.objects import Floats
from lakesight.metrics.precision import mean_of_known
from lakesight.plots.style import GREY, line, named, new_figure, shown, unit_square

MAX_NAMED = 10
"""So many classes, those with the most objects, have a colour; further ones are grey."""
MAX_NUMBERED = 20
"""Up to so many classes a confusion matrix shows its numbers."""
MAX_TICKS = 60
"""Up to so many classes a confusion matrix shows their names."""


def precision_recall(result: DetectionResult) -> Figure:
    """Return precision over recall, a line for each class and their mean, at IoU 0.50."""
    figure = new_figure(8, 5.5)
    axes = named(
        figure.subplots(),
        f"Precision and recall ({result.task}, IoU 0.50)",
        "recall: part of the objects that is found",
        "precision: part of the found that is right",
    )
    names = [f"{shown(one.label)}  AP50 {one.ap50:.3f}" for one in result.classes]
    mean = f"mean  mAP50 {result.map50:.3f}"
    values = result.curves
    _lines(axes, values.recall_points, values.precision_at_recall, names, _order(result), mean)
    _legend(axes)
    return figure


def over_confidence(result: DetectionResult) -> Figure:
    """Return F1, precision and recall over the least confidence that counts, at IoU 0.50.

    The vertical line is at the confidence of the best mean F1.
    """
    values = result.curves
    figure = new_figure(17, 5)
    panels = figure.subplots(1, 3)
    curves = {"F1": values.f1, "precision": values.precision, "recall": values.recall}
    names = [shown(label) for label in result.labels]
    best = values.best_confidence
    for axes, (name, lines) in zip(panels, curves.items(), strict=True):
        named(axes, f"{name} ({result.task}, IoU 0.50)", "least confidence", f"{name}, 0 to 1")
        _lines(axes, values.confidences, lines, names, _order(result), "mean")
        if not np.isnan(best):
            axes.axvline(best, color="black", linewidth=0.8, linestyle=":")
    if not np.isnan(best):
        panels[0].set_title(f"F1 ({result.task}, IoU 0.50), best at confidence {best:.2f}")
    _legend(panels[-1])
    return figure


def confusion_matrix(confusion: Confusion, *, normalised: bool = False) -> Figure:
    """Return the matrix, true classes down and found ones across; `normalised` to parts of rows."""
    values = confusion.normalised() if normalised else confusion.counts.astype(np.float64)
    count = len(confusion.labels)
    side = 4 + 0.35 * min(count, MAX_TICKS)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    top = 1.0 if normalised else max(1.0, float(values.max(initial=0)))
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top)
    what = "part of the true ones" if normalised else "number of objects"
    figure.colorbar(image, ax=axes, label=what, shrink=0.8)
    title = "What was taken for what"
    if confusion.iou is not None:
        title += f" (IoU {confusion.iou:g}, confidence {confusion.confidence:g} and more)"
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("found class")
    axes.set_ylabel("true class")
    _name_ticks(axes, confusion.labels)
    if count <= MAX_NUMBERED:
        _write_numbers(axes, values, top, ".2f" if normalised else ".0f")
    return figure


def _order(result: DetectionResult) -> list[int]:
    """Return the classes by falling number of objects."""
    return sorted(range(len(result.classes)), key=lambda one: -result.classes[one].num_truth)


def _lines(
    axes: Axes, x: Floats, lines: Floats, names: Sequence[str], order: Sequence[int], mean: str
) -> None:
    """Draw a line per class `(classes, N)`, those without truth left out, and the mean."""
    known = [number for number in order if not np.isnan(lines[number]).all()]
    if further := known[MAX_NAMED:]:
        first, *rest = axes.plot(x, lines[further].T, color=GREY, linewidth=0.8)
        first.set_label(f"{1 + len(rest)} further")
    for place, number in reversed(list(enumerate(known[:MAX_NAMED]))):
        axes.plot(x, lines[number], label=names[number], **line(place))
    if known:
        axes.plot(x, mean_of_known(lines, axis=0), label=mean, color="black", linewidth=2.5)
    unit_square(axes)


def _legend(axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        names[::-1],
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        fontsize=8,
        frameon=False,
    )


def _name_ticks(axes: Axes, labels: Sequence[str]) -> None:
    if len(labels) > MAX_TICKS:
        return
    ticks, names = range(len(labels)), [shown(label) for label in labels]
    axes.set_xticks(ticks, names, rotation=90, fontsize=8)
    axes.set_yticks(ticks, names, fontsize=8)


def _write_numbers(axes: Axes, values: Floats, top: float, form: str) -> None:
    """Write every number that is not 0 into its cell, dark on light and light on dark."""
    for row, column in np.argwhere(values > 0).tolist():
        value = float(values[row, column])
        ink = "white" if value > 0.5 * top else "black"
        axes.text(column, row, format(value, form), ha="center", va="center", color=ink, fontsize=7)
