"""What came of every epoch of a training."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lakesight.plots.style import line, named, new_figure, shown, whole_numbers

LOSS = "loss/"
RATE = "learning_rate"
FITNESS = "fitness"
MAX_MARKED = 30
"""With no more epochs than this, every one has a dot."""

History = Sequence[Mapping[str, float]]
"""One row an epoch, as `Progress.history`: `epoch`, `loss/…`, `learning_rate`, and metrics."""


def curves(history: History) -> Figure:
    """Return losses, metrics and the learning rate by epoch; the best epoch is marked."""
    names = list(dict.fromkeys(name for row in history for name in row if name != "epoch"))
    losses = [name for name in names if name.startswith(LOSS)]
    metrics = [name for name in names if name not in losses and name != RATE]
    figure = new_figure(15, 4.5)
    left, middle, right = figure.subplots(1, 3)
    named(left, "Losses of training", "epoch", "mean loss of a picture")
    _draw(left, history, losses)
    left.set_ylim(bottom=0)
    named(middle, "Metrics of validation", "epoch", "metric, 0 to 1")
    _draw(middle, history, metrics)
    middle.set_ylim(-0.02, 1.02)
    _mark_best(middle, history)
    named(right, "Learning rate", "epoch", "learning rate at the end of the epoch")
    _draw(right, history, [RATE] if RATE in names else [])
    right.set_ylim(bottom=0)
    return figure


def _draw(axes: Axes, history: History, names: Sequence[str]) -> None:
    """Draw a line for each name, over the epochs that have it."""
    marker = "o" if len(history) <= MAX_MARKED else None
    for number, name in enumerate(names):
        rows = [row for row in history if name in row]
        axes.plot(
            [row["epoch"] for row in rows],
            [row[name] for row in rows],
            label=shown(name.removeprefix(LOSS)),
            marker=marker,
            markersize=3,
            **line(number),
        )
    whole_numbers(axes.xaxis)
    if len(names) > 1:
        axes.legend(fontsize=8)


def _mark_best(axes: Axes, history: History) -> None:
    rows = [row for row in history if FITNESS in row]
    if rows:
        best = max(rows, key=lambda row: row[FITNESS])
        axes.axvline(best["epoch"], color="black", linewidth=0.8, linestyle=":")
        title = f"Metrics of validation; best epoch {best['epoch']:.0f}"
        axes.set_title(f"{title}, fitness {best[FITNESS]:.3f}", fontsize=11)
