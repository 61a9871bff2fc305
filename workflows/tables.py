"""Rows as people, spreadsheets and programs read them: aligned columns, CSV, JSON lines."""

import csv
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TextIO

Row = Mapping[str, Any]
MAX_CELL = 72


def write_aligned(
    rows: Sequence[Row], names: Sequence[str], to: TextIO, max_cell: int = MAX_CELL
) -> None:
    """Write a header and rows in columns: numbers to the right, long values cut at `max_cell`."""
    cells = [[_short(row[name], max_cell) for name in names] for row in rows]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[name], int | float) for row in rows) for name in names
    ]
    for line in (list(names), ["-" * width for width in widths], *cells):
        padded = [
            _pad(cell, width, to_right=number)
            for cell, width, number in zip(line, widths, right, strict=True)
        ]
        to.write("  ".join(padded).rstrip() + "\n")


def write_json_lines(rows: Iterable[Row], to: TextIO) -> None:
    """Write one JSON object a line."""
    for row in rows:
        to.write(as_json(row) + "\n")


def write_csv(rows: Iterable[Row], names: Sequence[str], to: TextIO) -> None:
    """Write CSV with a header; lists and structs become JSON."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_flat(row[name]) for name in names])


def as_json(value: Any) -> str:
    """Return JSON on one line; dates as ISO 8601, bytes in hex."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _flat(value: Any) -> Any:
    return as_json(value) if isinstance(value, list | dict | tuple) else value


def _short(value: Any, max_cell: int) -> str:
    """Return a cell for a terminal: one line, no control characters, not too long."""
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(_flat(value))
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= max_cell else text[: max_cell - 1] + "…"


def _pad(text: str, width: int, *, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    marks = sum(unicodedata.combining(char) > 0 for char in text)
    return len(text) + wide - marks
