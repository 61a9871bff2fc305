import json
from typing import Any

import pytest

from lakesight.online.json_bodies import JsonLimits, check, depth, parse
from lakesight.online.problems import Problem

LIMITS = JsonLimits(max_depth=4, max_containers=100, max_values=300)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, -2.5, True, "a"],
        {"a": {"b": [{}, "}]{[" * 10]}},
        'quotes " and \\ and \n and ü and \U0001f600',
        {"data": "A1+/" * 1000 + "=="},
        18446744073709551615,
        1e-300,
    ],
)
def test_json_is_parsed(value: Any) -> None:
    for is_ascii in (True, False):
        raw = json.dumps(value, ensure_ascii=is_ascii).encode()
        assert parse(raw, LIMITS) == value


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": 1,}', "Illegal trailing comma|Expecting property name"),
        (b"[1] 2", "Extra data"),
        (b'{"a": 1, "a": 2}', "one key twice"),
        (b'{"x": {"a": 1, "\\u0061": 2}}', "one key twice"),
        (b"NaN", "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b"[1e999]", "too large for a double"),
        (b"[-1e999]", "too large for a double"),
        (b"1" * 21, "more than 20 digits"),
        (b"1" * 5000, "more than 20 digits"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'{"\\udfff": 1}', "half a surrogate pair"),
        (b'"\xff"', "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        ('"ü"'.encode("utf-16"), "not UTF-8"),
        (b'"\x00"', "Invalid control character"),
        (b'"abc\\', "Unterminated string|Invalid"),
        (b"[[[[[]]]]]", "nested deeper than 4"),
        (b'{"a":' * 5 + b"1" + b"}" * 5, "nested deeper than 4"),
        (b"[" * 100_000, "more than 100 lists"),
        (b"[" * 50, "nested deeper than 4"),
        (b"[" + b"[]," * 200 + b"1]", "more than 100 lists"),
        (b"[" + b"{}," * 200 + b"1]", "more than 100 lists"),
        (b"[" + b"1," * 500 + b"1]", "more than 300 values"),
        (b'"",' * 1000, "more than 300 values"),
        (b'"' * 10_000, "more than 300 values"),
    ],
)
def test_what_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(Problem, match=message) as caught:
        parse(raw, LIMITS)
    assert caught.value.kind == "bad-json"


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b"[[],[[]]]", 3),
        (b'"[[["', 0),
        (b'["\\"[[[[", []]', 2),
        (b'["\\\\", []]', 2),
        (b"[[[[", 4),
        (b"]]]]", 0),
        (b']]]][[{"', 0),
        (b'["[[[', 1),
        (b'["[[[\\', 1),
    ],
)
def test_depth_counts_brackets_outside_of_strings(raw: bytes, deep: int) -> None:
    assert depth(raw) == deep


@pytest.mark.parametrize(
    "raw",
    [
        b'"' + b'\\"' * 300_000,  # no string in it ends: looked at once, not once a quote
        b'"' + b"\\" * 600_001,
        b"\\" * 600_000 + b"[" * 30,
        b'"' * 300_001 + b"[" * 30,
        b"]" * 600_000,
    ],
)
def test_what_would_take_long_is_bounded_by_its_length(raw: bytes) -> None:
    """A search that started anew at each of 300,000 quotes would take hours: pytest's limit."""
    assert depth(raw) <= 30
    with pytest.raises(Problem):
        parse(raw, JsonLimits())


def test_a_large_string_costs_no_values() -> None:
    check(b'{"data": "' + b"A" * 10_000_000 + b'"}', LIMITS)
