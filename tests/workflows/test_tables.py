import io
from datetime import UTC, datetime

import pytest

from workflows import tables


def aligned(rows: list[dict[str, object]], names: list[str], **options: int) -> list[str]:
    file = io.StringIO()
    tables.write_aligned(rows, names, file, **options)
    return file.getvalue().splitlines()


def test_columns_are_aligned() -> None:
    rows: list[dict[str, object]] = [{"name": "a", "n": 1}, {"name": "long", "n": 100}]
    assert aligned(rows, ["name", "n"]) == [
        "name    n",
        "----  ---",
        "a       1",
        "long  100",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.123456789, "0.123457"),
        ("two\nlines\x1b[31m", "two\N{REPLACEMENT CHARACTER}lines\N{REPLACEMENT CHARACTER}[31m"),
        ([1, {"a": None}], '[1, {"a": null}]'),
        ("x" * 30, "x" * 19 + "…"),
        (True, "True"),
    ],
)
def test_a_cell_is_one_short_printable_line(value: object, shown: str) -> None:
    assert aligned([{"c": value}], ["c"], max_cell=20)[2].strip() == shown


def test_wide_letters_take_two_columns() -> None:
    lines = aligned([{"a": "日本", "b": "x"}, {"a": "ab", "b": "x"}], ["a", "b"])
    assert lines[1:] == ["----  -", "日本  x", "ab    x"]


def test_json_knows_dates_and_bytes() -> None:
    value = {"at": datetime(2026, 1, 2, tzinfo=UTC), "data": b"\x01\xff"}
    assert tables.as_json(value) == '{"at": "2026-01-02T00:00:00+00:00", "data": "01ff"}'
