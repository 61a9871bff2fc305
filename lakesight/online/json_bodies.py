"""JSON from strangers: bounded before it is parsed, and parsed strictly."""

import json
import math
import re
from functools import partial
from typing import Any, NoReturn

import numpy as np
from pydantic import Field

from lakesight.models.base import Frozen
from lakesight.online.problems import Problem

TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
"""A string, which may hold brackets, or a bracket. A string that does not end goes to the end of
the text: so every byte is looked at once, whatever comes."""
CHUNK_BYTES = 1 << 18
"""Counted at once: what fits a core's own cache."""
MAX_DIGITS = 20
"""Of a whole number: what 64 bits hold, and its sign."""


class JsonLimits(Frozen):
    """How much JSON a request may hold. How long its strings are is bounded by the body's cap."""

    max_depth: int = Field(default=24, gt=0, le=200)
    """Lists and objects inside each other."""
    max_containers: int = Field(default=200_000, gt=0)
    """Lists and objects, by their brackets: an empty list is 3 bytes, and 64 in memory."""
    max_keys: int = Field(default=1000, gt=0)
    """Of one object. What checks it names each that it does not know: a thousand bytes for ten."""
    max_values: int = Field(default=1_000_000, gt=0)
    """Commas and colons: a short string is 5 bytes, and 60 in memory."""


def check(raw: bytes, limits: JsonLimits) -> None:
    """Raise Problem for JSON that would cost much to parse. Takes a few passes without a loop.

    What looks like JSON inside of a string is counted too: base64 has no such characters.
    """
    num_containers, num_values, num_quotes = _counts(raw)
    if num_containers > limits.max_containers:
        raise Problem("bad-json", f"more than {limits.max_containers} lists and objects")
    if num_values > limits.max_values or num_quotes > 8 * limits.max_values:
        raise Problem("bad-json", f"more than {limits.max_values} values")
    if num_containers > limits.max_depth and depth(raw) > limits.max_depth:
        raise Problem("bad-json", f"nested deeper than {limits.max_depth}")


def _counts(raw: bytes) -> tuple[int, int, int]:
    """Return how many opening brackets, commas and colons, and quotes there are.

    numpy counts ten bytes in the time that `bytes.count` takes for one.
    """
    total = np.zeros(5, np.int64)
    for start in range(0, len(raw), CHUNK_BYTES):
        part = np.frombuffer(raw, np.uint8, min(CHUNK_BYTES, len(raw) - start), start)
        total += [np.count_nonzero(part == letter) for letter in b'[{,:"']
    return int(total[:2].sum()), int(total[2:4].sum()), int(total[4])


def depth(raw: bytes) -> int:
    """Return how deep brackets lie in each other, whether they are closed or not."""
    deepest = now = 0
    for token in TOKEN.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif first in b"]}":
            now -= 1
    return deepest


def parse(raw: bytes, limits: JsonLimits) -> Any:
    """Return what the JSON of a request says.

    Raises Problem where it is none (RFC 8259), too much, or could be read in two ways: a key twice,
    NaN, Infinity, a number that no double holds, half a surrogate pair, bytes that are no UTF-8.
    """
    check(raw, limits)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=partial(_object, limits.max_keys),
            parse_int=_int,
            parse_float=_float,
            parse_constant=_no_constant,
        )
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise Problem("bad-json", "the body is not UTF-8") from None
    except UnicodeEncodeError:
        raise Problem("bad-json", "a string holds half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise Problem("bad-json", f"{error.msg} at character {error.pos}") from None
    return value


def _object(max_keys: int, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > max_keys:
        raise Problem("bad-json", f"an object has more than {max_keys} keys")
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Problem("bad-json", "an object has one key twice")
    return found


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Problem("bad-json", f"a whole number of more than {MAX_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Problem("bad-json", "a number that is too large for a double")
    return value


def _no_constant(name: str) -> NoReturn:
    raise Problem("bad-json", f"{name} is no JSON")
