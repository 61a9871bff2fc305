"""A published index as the online server asks it: `indexes` and `lakesight.online` meet here."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from indexes.search import Searcher
from lakesight.models.base import ModelSpec

MAX_SECONDS = 5.0
"""How long the condition of a search may take."""


class IndexFinder:
    """`lakesight.online.finder.Finder` of an index that is open."""

    def __init__(self, uri: str, searcher: Searcher) -> None:
        self.uri = uri
        self._searcher = searcher

    @property
    def build_id(self) -> str:
        """Which build of it this is."""
        return self._searcher.manifest.build_id

    @property
    def count(self) -> int:
        """How many rows it holds."""
        return self._searcher.manifest.count

    @property
    def model(self) -> ModelSpec | None:
        """What made its vectors; None where that is unknown."""
        return self._searcher.manifest.model

    @property
    def holds(self) -> Literal["pictures", "texts"]:
        """What its rows are."""
        return self._searcher.manifest.holds

    @property
    def schema(self) -> pa.Schema:
        """The columns of its rows."""
        return self._searcher.rows.schema

    @property
    def can_rerank(self) -> bool:
        """Whether it kept what matching starts from."""
        return self._searcher.manifest.features is not None

    def is_current(self) -> bool:
        """Return whether no other build was published since."""
        pointer = self._searcher.store.pointer()
        return pointer is not None and pointer.build_id == self.build_id

    def search(
        self, vectors: npt.NDArray[np.float32], k: int, where: str | None = None
    ) -> pa.Table:
        """See `Searcher.search`."""
        return self._searcher.search(vectors, k, where, MAX_SECONDS)

    def browse(self, k: int, where: str | None = None) -> pa.Table:
        """See `Searcher.browse`."""
        return self._searcher.browse(k, where, MAX_SECONDS)

    def row(self, row_id: str) -> pa.Table:
        """See `Searcher.row`."""
        return self._searcher.row(row_id)

    def vectors(self, row_id: str) -> npt.NDArray[np.float32]:
        """See `Searcher.vectors`."""
        return self._searcher.vectors(row_id)

    def open_features(self) -> None:
        """See `Searcher.open_features`."""
        self._searcher.open_features()

    def features(self, row_ids: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        """See `Searcher.features`."""
        return self._searcher.features(row_ids)


def open_index(uri: str) -> IndexFinder:
    """Open the current build of an index; UserError where there is none, or it is damaged."""
    return IndexFinder(uri, Searcher.open(uri))
