"""The forms in which data lies: of each, one entry says how it is told, and how it is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from lakesight.errors import UserError

Asked = TypeVar("Asked")
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Form(Generic[Asked, Opened]):
    """One form of data; `Asked` is what somebody wants opened, and how."""

    what: str
    """What to give, as errors list it: `a folder of …`."""
    holds: frozenset[str]
    """What it has: tasks, or kinds of text."""
    is_there: Callable[[Asked], bool]
    """Tell it by what lies there."""
    open: Callable[[Asked], Opened]
    """Open it, and check it whole; UserError for what is wrong in it."""


def opened(
    forms: Mapping[str, Form[Asked, Opened]], asked: Asked, wanted: str, data: str, missing: str
) -> Opened:
    """Open the first form that is there and has what is wanted.

    `missing` says of the `data` what it lacks. Raises UserError where none is there, with the forms
    that would do.
    """
    but = ""
    for form in forms.values():
        if form.is_there(asked):
            if wanted in form.holds:
                return form.open(asked)
            but = but or f" (it is {form.what})"
    fitting = [form.what for form in forms.values() if wanted in form.holds]
    *most, last = fitting or ["nothing: no form has it"]
    give = f"{', '.join(most)}, or {last}" if most else last
    raise UserError(f"{data} has no {missing}{but}: give {give}")
