"""What may be used without asking: the licence allow-list (docs/decisions/0003-licences.md)."""

import os
from collections.abc import Iterable, Iterator

from lakesight.errors import UserError
from lakesight.models.base import Licences, ModelCard

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC0-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "ISC",
        "LicenseRef-own",
        "MIT",
        "MIT-0",
        "ODC-By-1.0",
        "Unlicense",
        "Zlib",
    }
)
"""SPDX ids of licences that allow any use and ask at most for attribution; `LicenseRef-own` are
weights or data of one's own, which is what `lakesight train` writes unless told otherwise."""

DATA_REFUSED = frozenset({"withdrawn"})
"""Training data that refuses the model: its publisher took the data set back."""

VARIABLE = "LAKESIGHT_ALLOW_LICENCES"


def parts(expression: str) -> list[str]:
    """Return the licences of an SPDX expression joined by AND."""
    return [part.strip() for part in expression.split(" AND ")]


def both(one: Licences, other: Licences) -> Licences:
    """Return the licences of weights that were trained from others: those of both."""

    def joined(first: str, second: str) -> str:
        return " AND ".join(dict.fromkeys([*parts(first), *parts(second)]))

    return Licences(
        weights=joined(one.weights, other.weights),
        data=joined(one.data, other.data),
        language_model=one.language_model or other.language_model,
    )


def problems(card: ModelCard) -> Iterator[tuple[str, str]]:
    """Yield `(what, licence)` for everything of the card that needs consent."""
    licences = card.licences
    for what, expression in (
        ("weights", licences.weights),
        ("language model", licences.language_model or "Apache-2.0"),
    ):
        yield from ((what, part) for part in parts(expression) if part not in ALLOWED)
    yield from (("training data", part) for part in parts(licences.data) if part in DATA_REFUSED)


def from_environment() -> tuple[str, ...]:
    """Return the licences that LAKESIGHT_ALLOW_LICENCES accepts, comma-separated."""
    given = os.environ.get(VARIABLE, "")
    return tuple(name.strip() for name in given.split(",") if name.strip())


def check(card: ModelCard, accepted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return which accepted licences the card needs; raise UserError where one is missing.

    `accepted` adds to the environment variable LAKESIGHT_ALLOW_LICENCES.
    """
    needed = list(problems(card))
    _check(card.name, needed, accepted)
    return tuple(sorted({licence for _, licence in needed}))


def require(name: str, what: str, expression: str, accepted: Iterable[str] = ()) -> None:
    """Raise UserError where a licence of what has no card is missing, as `check` does."""
    _check(name, [(what, part) for part in parts(expression) if part not in ALLOWED], accepted)


def _check(name: str, needed: Iterable[tuple[str, str]], accepted: Iterable[str]) -> None:
    consent = {*accepted, *from_environment()}
    for what, licence in needed:
        if licence not in consent:
            raise UserError(_refusal(name, what, licence))


def _refusal(name: str, what: str, licence: str) -> str:
    return (
        f"the {what} of {name} are under {licence!r}, which is not on the list of licences for any "
        f"use. If its terms fit yours, say so: --allow-licence '{licence}', or "
        f"{VARIABLE}='{licence}'."
    )
