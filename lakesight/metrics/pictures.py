"""Which pictures an evaluator has seen, each once, and of what kinds they are."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.metrics.objects import Flags, Floats, Key


class Pictures:
    """Pictures in the order in which they came, with their slices."""

    def __init__(self) -> None:
        self.slices: dict[Key, Mapping[str, str]] = {}
        """Values by name, of each picture."""

    def __len__(self) -> int:
        return len(self.slices)

    def add(self, keys: Sequence[Key], slices: Sequence[Mapping[str, str]] | None = None) -> None:
        """Add pictures; UserError, and nothing added, where one comes twice."""
        kinds = [{} for _ in keys] if slices is None else [dict(one) for one in slices]
        if len(kinds) != len(keys):
            raise UserError(f"{len(keys)} pictures need as many slices, but got {len(kinds)}")
        added = dict(zip(keys, kinds, strict=True))
        if len(added) < len(keys):
            raise _twice(keys)
        self.refuse(added)
        self.slices.update(added)

    def refuse(self, keys: Iterable[Key]) -> None:
        """Raise UserError where one of the pictures was added before."""
        twice = [key for key in keys if key in self.slices]
        if twice:
            raise _twice(twice)

    def merge(self, other: "Pictures") -> None:
        """Add the pictures of another evaluator; UserError where one is in both."""
        self.add(list(other.slices), list(other.slices.values()))

    def order(self) -> npt.NDArray[np.intp]:
        """Return the indices of the pictures by rising key, on which ties and draws depend."""
        keys = list(self.slices)
        return np.array(sorted(range(len(keys)), key=lambda index: sort_key(keys[index])), np.intp)

    def kinds(self, name: str) -> dict[str, Flags]:
        """Return for each value of a slice the pictures that have it, as flags `(pictures,)`.

        UserError where no picture has that slice.
        """
        values = [slices.get(name) for slices in self.slices.values()]
        kinds = sorted({value for value in values if value is not None})
        if not kinds:
            known = sorted({one for slices in self.slices.values() for one in slices})
            raise UserError(f"no picture has the slice {name!r}; known slices: {known}")
        return {kind: np.array([value == kind for value in values], bool) for kind in kinds}


def grouped(keys: Sequence[Key], rows: Floats) -> Floats:
    """Return the sums of rows `(N, S)` of equal keys, in the order of their first ones."""
    numbers: dict[Key, int] = {}
    places = [numbers.setdefault(key, len(numbers)) for key in keys]
    sums = np.zeros((len(numbers), rows.shape[1]))
    np.add.at(sums, places, rows)
    return sums


def _twice(keys: Iterable[Key]) -> UserError:
    return UserError(
        f"each picture counts once, but {some(keys)} came again: give every worker its own pictures"
    )


def sort_key(key: Key) -> tuple[bool, int, str]:
    """Return what keys are sorted by: numbers first."""
    return (True, 0, key) if isinstance(key, str) else (False, key, "")


def some(keys: Iterable[Key]) -> str:
    """Return the number of pictures and the first three keys."""
    ordered = sorted(keys, key=sort_key)
    return f"{len(ordered)} pictures such as {', '.join(map(repr, ordered[:3]))}"
