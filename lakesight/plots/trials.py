"""What a search among hyperparameters has tried, and what came of it."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lakesight.plots.style import GREY, colour, named, new_figure
from lakesight.training.search import Space
from lakesight.training.trials import Trial, ranked

COLUMNS = 4
LOOKS = {"done": ("o", colour(0)), "stopped": ("o", GREY), "failed": ("x", colour(1))}


def trials(found: Sequence[Trial], space: Space) -> Figure:
    """Return the fitness by trial and the best so far, then over each hyperparameter.

    Stopped trials are grey, failed ones crosses at 0, and the best is a star.
    """
    rows = math.ceil((1 + len(space)) / COLUMNS)
    figure = new_figure(4 * COLUMNS, 3.2 * rows)
    first, *others = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    _by_trial(named(first, "Best so far", "trial", "fitness"), found)
    for axes, (name, one) in zip(others, space.items(), strict=False):
        _dots(named(axes, name, name.rpartition(".")[2], "fitness"), found, name)
        if one.log:
            axes.set_xscale("log")
            axes.tick_params(axis="x", which="both", labelsize=7)
    for axes in others[len(space) :]:
        axes.set_axis_off()
    return figure


def _by_trial(axes: Axes, found: Sequence[Trial]) -> None:
    _dots(axes, found, None)
    so_far = [max(one.fitness for one in found[: end + 1]) for end in range(len(found))]
    numbers = [one.number for one in found]
    axes.step(numbers, so_far, where="post", color=colour(1), linewidth=1.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _dots(axes: Axes, found: Sequence[Trial], name: str | None) -> None:
    """Draw every trial at its value under a name, or its number."""
    best = next((one for one in ranked(found) if one.status != "failed"), None)
    for one in found:
        marker, ink = LOOKS[one.status]
        x = one.number if name is None else one.values[name]
        axes.scatter(x, one.fitness, s=20, marker=marker, color=ink, zorder=3)
        if one == best:
            axes.scatter(x, one.fitness, s=110, marker="*", color=colour(1), zorder=4)
