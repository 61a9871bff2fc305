"""The one exception that the command line turns into a single clear line and exit code 2."""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError


class UserError(ValueError):
    """A mistake that the person at the keyboard can mend.

    The message says what was expected, what came, and what to do. Anything else that is raised is
    our own mistake and keeps its traceback.
    """


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """Return what a file of JSON says; UserError, which calls it `name`, where it is no object."""
    try:
        found = json.loads(data)
    except ValueError as error:  # of the encoding, too
        raise UserError(f"{name} is no readable JSON: {error}; fetch or write it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{name} is to be a JSON object, but holds a {type(found).__name__}")
    return found


def first_mistake(error: ValidationError, known: Iterable[str] = ()) -> str:
    """Return the first mistake that a check found, as `field.of.field: what is wrong`.

    Where it is none of a field, such as broken JSON, `the file` stands for the field. Of the names
    `known` the nearest are told where one is given that is not among them.
    """
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "extra_forbidden" and known and len(first["loc"]) == 1:
        near = difflib.get_close_matches(where, known, n=2, cutoff=0.7)
        return f"{where}: there is no such setting" + (
            f", did you mean {' or '.join(near)}?" if near else ""
        )
    return f"{where}: {first['msg']}"
