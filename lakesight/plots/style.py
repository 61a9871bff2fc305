"""How every plot looks: colours that the colour-blind tell apart, and labels that stay text."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lakesight.files import whole

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A")
"""Six of Okabe and Ito (https://jfly.uni-koeln.de/color/), and a violet; their yellow is too pale
on white."""
DASHES = ("-", "--", ":", "-.")
GREY = "#B0B0B0"
MAX_LABEL = 24
"""Characters of a class name that are shown."""
DPI = 120


def colour(number: int) -> str:
    """Return the colour of class or line `number`."""
    return PALETTE[number % len(PALETTE)]


def line(number: int) -> dict[str, Any]:
    """Return colour and dashes of line `number`; they differ for the first 28."""
    dashes = DASHES[number // len(PALETTE) % len(DASHES)]
    return {"color": colour(number), "linestyle": dashes, "linewidth": 1.6}


def shown(label: str) -> str:
    """Return a class name as matplotlib shows it letter by letter, shortened.

    A `$` would begin a formula, and a name with `_` first is left out of legends.
    """
    short = label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…"
    return ("\u200b" if short.startswith("_") else "") + short.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, outside pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def named(axes: Axes, title: str, x: str, y: str) -> Axes:
    """Give axes a title, names with units, and a faint grid."""
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def whole_numbers(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True))


def unit_square(axes: Axes) -> None:
    """Show 0 to 1 on both axes, with a little room for lines on the border."""
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, a file that is whole or absent; return its path."""
    with whole(path) as part:
        figure.savefig(part, format="png")
    return path
