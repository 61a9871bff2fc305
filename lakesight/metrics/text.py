"""Figures as columns of plain text."""

from collections.abc import Sequence

import numpy as np


def aligned(rows: Sequence[Sequence[str | float | int]]) -> list[str]:
    """Return one line per row: the first column flush left, the others flush right."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [
        max(len(row[place]) for row in cells if place < len(row))
        for place in range(max(len(row) for row in cells))
    ]
    lines = []
    for first, *rest in cells:
        others = (f"{one:>{width + 2}}" for one, width in zip(rest, widths[1:], strict=False))
        lines.append(f"{first:<{widths[0]}}{''.join(others)}".rstrip())
    return lines


def cell(value: str | float | int) -> str:
    """Return text as it is, counts with commas, figures with three digits, `-` for NaN."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if np.isnan(value) else f"{value:.3f}"
