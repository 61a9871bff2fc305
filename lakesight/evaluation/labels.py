"""The classes that are judged, matched by name."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.errors import UserError


class Labels:
    """The classes of a dataset, and what of others was found."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._places = {label: number for number, label in enumerate(labels)}
        self.known = 0
        self.strange: Counter[str] = Counter()

    def add(self, found: pa.Array) -> None:
        """Count the labels of a column of objects or classes."""
        for one in found.flatten().field("label").value_counts():
            label, count = str(one["values"]), one["counts"].as_py()
            if label in self._places:
                self.known += count
            else:
                self.strange[label] += count

    def merge(self, other: "Labels") -> None:
        """Add what another counted."""
        self.known += other.known
        self.strange.update(other.strange)

    def scores(self, found: pa.Array) -> npt.NDArray[np.float64]:
        """Return `(N, classes)` scores of a column of classes, NaN where none is given."""
        values = found.flatten()
        rows = np.repeat(np.arange(len(found)), lengths(found))
        labels = values.field("label").to_pylist()
        places = np.array([self._places.get(one, -1) for one in labels], np.int64)
        known = np.flatnonzero(places >= 0)
        scores = np.full((len(found), len(self._places)), np.nan)
        scores[rows[known], places[known]] = values.field("score").to_numpy()[known]
        return scores

    def notes(self, what: str) -> tuple[str, ...]:
        """Say what of other classes was left out; UserError where there was nothing else."""
        if not self.strange:
            return ()
        total = sum(self.strange.values())
        shown = ", ".join(label for label, _ in self.strange.most_common(5))
        said = (
            f"{total:,} found {what} are of classes that the labels lack, "
            f"{len(self.strange):,} such as {shown}"
        )
        if not self.known:
            raise UserError(
                f"all {said}: the labels are {', '.join(list(self._places)[:5])} …; use the same "
                "names for the same classes"
            )
        return (f"{said}: they do not count",)


def lengths(found: pa.Array) -> npt.NDArray[np.int64]:
    """Return `(N,)` how many objects or classes each picture has; null has none."""
    return np.asarray(found.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))


def null_notes(number: int, meaning: str) -> tuple[str, ...]:
    """Say how many pictures have no value."""
    if not number:
        return ()
    have = "picture has" if number == 1 else "pictures have"
    return (f"{number:,} {have} no value, which counts as {meaning}",)
