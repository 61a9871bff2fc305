"""A published index as this package knows it: `lakesight` does not import `indexes`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.models.base import ModelSpec


class Finder(Protocol):
    """An index that is open. Methods are called from several threads, and may take their time."""

    @property
    def uri(self) -> str:
        """Where it was published."""
        ...

    @property
    def build_id(self) -> str:
        """Which build of it this is."""
        ...

    @property
    def count(self) -> int:
        """How many rows it holds."""
        ...

    @property
    def model(self) -> ModelSpec | None:
        """What made its vectors; None where that is unknown."""
        ...

    @property
    def holds(self) -> Literal["pictures", "texts"]:
        """What its rows are."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The columns of its rows."""
        ...

    @property
    def can_rerank(self) -> bool:
        """Whether it kept what matching starts from."""
        ...

    def is_current(self) -> bool:
        """Return whether no other build was published since."""
        ...

    def search(
        self, vectors: npt.NDArray[np.float32], k: int, where: str | None = None
    ) -> pa.Table:
        """Return the best rows for queries `(N, D)` or `(N, V, D)`: `query`, `rank`, `score`, row.

        Raises UserError for a condition that is none.
        """
        ...

    def browse(self, k: int, where: str | None = None) -> pa.Table:
        """Return at most `k` rows, spread evenly over those where a condition is true.

        Raises UserError for a condition that is none.
        """
        ...

    def row(self, row_id: str) -> pa.Table:
        """Return one row; UserError where it is not there."""
        ...

    def vectors(self, row_id: str) -> npt.NDArray[np.float32]:
        """Return the vectors `(V, D)` of a row; UserError where it is not there."""
        ...

    def open_features(self) -> None:
        """Have what matching starts from here, and checked; gigabytes, where it was not."""
        ...

    def features(self, row_ids: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        """Return what the model saw of rows, `(N, …)`; UserError where it was not kept."""
        ...


OpenIndex = Callable[[str], Finder]
"""Opens the current build at a folder or an s3:// prefix; UserError where there is none."""


def no_index(uri: str) -> Finder:
    """Refuse: for a server that was given nothing to open indexes with."""
    raise UserError(f"this server opens no indexes, and was told to serve {uri}")
