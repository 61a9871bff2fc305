"""Look vectors up in a published index; the answer carries the rows."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from indexes.build import FEATURES, INDEX, POSITION
from indexes.manifest import IndexManifest
from indexes.store import IndexStore
from lakesight import query
from lakesight.errors import UserError

Vectors = npt.NDArray[np.float32]

HITS = pa.schema(
    [pa.field("query", pa.int32()), pa.field("rank", pa.int32()), pa.field("score", pa.float32())]
)
"""Before the columns of the row: which query, 1 for its best answer, and the inner product."""


@dataclass(frozen=True)
class Searcher:
    """An index in memory with its rows on disk; made by `open`."""

    manifest: IndexManifest
    index: faiss.Index
    rows: ds.Dataset
    store: IndexStore
    folder: Path
    """For copies of files that are not local; ends with this object."""

    @classmethod
    def open(cls, uri: str) -> "Searcher":
        """Open the current build of the index at a local folder or an s3:// prefix.

        Every file is checked against the manifest before FAISS or Parquet sees it.

        Raises:
            UserError: if there is no index, or a file is not the one that was published.
        """
        store = IndexStore.open(uri)
        manifest = store.current()
        if manifest is None:
            raise UserError(f"no index at {uri}: build one with `lakesight index OUTPUT {uri}`")
        folder = Path(tempfile.mkdtemp(prefix="lakesight-index-"))  # for what is not local yet
        try:
            names = sorted(name for name in manifest.files if name != FEATURES)
            paths = store.fetch(manifest, folder, names)
            rows = ds.dataset([str(paths[name]) for name in names if name != INDEX])
            index = faiss.read_index(str(paths[INDEX]))
            searcher = cls(manifest, index, rows, store, folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        weakref.finalize(searcher, shutil.rmtree, folder)
        return searcher

    def search(
        self,
        vectors: Vectors,
        k: int,
        where: str | None = None,
        max_seconds: float | None = None,
    ) -> pa.Table:
        """Return the `k` best rows for each of the queries, best first.

        Where a row has several vectors, or a query, the score is that of the best pair.

        Args:
            vectors: `(N, dim)`, or `(N, V, dim)` where a query has several; of length 1, so that a
                score is the cosine of the angle.
            k: how many rows; fewer come back only where fewer match.
            where: an SQL condition on the columns of the rows; it is applied before the search.
            max_seconds: how long that may take; UserError beyond it, and for a condition that could
                not be stopped in time (`query.check_bounded`). For conditions of strangers.

        Returns:
            The columns of `HITS`, then those of the row.
        """
        if vectors.ndim not in (2, 3) or vectors.shape[-1] != self.manifest.dim:
            raise UserError(f"expected vectors (N, {self.manifest.dim}), got {vectors.shape}")
        per_row = self.manifest.vectors_per_row
        parameters = None if where is None else self._only(where, max_seconds)
        scores, positions = self.index.search(
            np.ascontiguousarray(vectors.reshape(-1, self.manifest.dim), dtype=np.float32),
            min(k, self.manifest.count) * per_row,  # so many are those of k rows at least
            params=parameters,
        )
        rows = np.where(positions < 0, -1, positions // per_row)
        found = [
            _best(*one, k)
            for one in zip(
                rows.reshape(len(vectors), -1), scores.reshape(len(vectors), -1), strict=True
            )
        ]
        queries = np.repeat(np.arange(len(found)), [len(one) for one, _ in found])
        ranks = np.concatenate([np.arange(1, len(one) + 1) for one, _ in found])
        hits = pa.Table.from_arrays(
            [
                pa.array(queries),
                pa.array(ranks),
                pa.array(np.concatenate([values for _, values in found])),
            ],
            names=HITS.names,
        ).cast(HITS)
        return self._join(hits, np.concatenate([one for one, _ in found]))

    def browse(
        self, k: int, where: str | None = None, max_seconds: float | None = None
    ) -> pa.Table:
        """Return at most `k` rows, spread evenly over all, or over those where a condition is true.

        See `search` for `where` and `max_seconds`.
        """
        count = self.manifest.count
        fitting = (
            np.arange(count) if where is None else np.flatnonzero(self._allowed(where, max_seconds))
        )
        spread = np.linspace(0, len(fitting) - 1, min(k, len(fitting)))
        return self._rows_at(fitting[spread.astype(np.int64)])

    def row(self, row_id: str) -> pa.Table:
        """Return one row.

        Raises:
            UserError: if the index does not hold that row.
        """
        return self._rows_at(self._positions([row_id]))

    def vectors(self, row_id: str) -> Vectors:
        """Return the stored vectors `(V, dim)` of a row.

        Raises:
            UserError: if the index does not hold that row.
        """
        count = self.manifest.vectors_per_row
        start = int(self._positions([row_id])[0]) * count
        return np.asarray(self.index.reconstruct_n(start, count), dtype=np.float32)

    def features(self, row_ids: Sequence[str]) -> npt.NDArray[np.float16]:
        """Return what the model saw of rows, `(len(row_ids), N, H)`.

        The first call reads the whole file once, to check it, unless `open_features` has.

        Raises:
            UserError: if the index keeps none, or does not hold one of the rows.
        """
        if self.manifest.features is None:
            raise UserError(
                "this index keeps no features: build it with `lakesight index … --features COLUMN`"
            )
        shape = (self.manifest.count, *self.manifest.features)
        kept = np.memmap(self._features, np.dtype("<f2"), mode="r", shape=shape)
        return kept[self._positions(row_ids)]

    def open_features(self) -> None:
        """Have the file of features here, and checked. Raises UserError where it is damaged."""
        _ = self._features

    def _positions(self, row_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return where rows are. Raises UserError for one that is not there."""
        ids, positions = self._sorted_ids
        wanted = np.array(row_ids, dtype=np.bytes_)
        places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
        if (missing := ids[places] != wanted).any():
            row_id = row_ids[int(missing.argmax())]
            raise UserError(f"the index holds no row with the id {row_id}")
        return positions[places]

    @cached_property
    def _sorted_ids(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int64]]:
        """The ids in order, and the position of each; 40 bytes a row, once it is asked for.

        Parquet would be read whole for every id: of a million rows that takes most of a second.
        """
        found = self.rows.to_table([POSITION, "id"])
        ids = np.array(found["id"].to_pylist(), dtype=np.bytes_)
        order = np.argsort(ids)
        return ids[order], found[POSITION].to_numpy()[order]

    @cached_property
    def _features(self) -> Path:
        return self.store.fetch(self.manifest, self.folder, [FEATURES])[FEATURES]

    def _only(self, where: str, max_seconds: float | None) -> faiss.SearchParameters:
        """Return what restricts a search to the rows for which a condition is true."""
        each = np.repeat(self._allowed(where, max_seconds), self.manifest.vectors_per_row)
        bits = np.packbits(each, bitorder="little")
        # faiss' stubs do not know the arguments that its Python wrappers add
        return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))  # type: ignore[arg-type, call-arg]

    def _allowed(self, where: str, max_seconds: float | None) -> npt.NDArray[np.bool_]:
        """Return by position for which rows a condition is true, `(count,)`."""
        query.check_expression(where)
        if max_seconds is not None:
            query.check_bounded(where)
        connection = query.connect({"rows": self.rows}, limited=max_seconds is not None)
        statement = f"SELECT {POSITION} FROM rows WHERE (\n{where}\n)"
        with query.within(connection, max_seconds):
            found = query.select(connection, statement).read_all()
        allowed = np.zeros(self.manifest.count, dtype=np.bool_)
        allowed[found[POSITION].to_numpy()] = True
        return allowed

    def _join(self, hits: pa.Table, positions: npt.NDArray[np.int64]) -> pa.Table:
        """Put the row at each position beside its hit."""
        rows = self._rows_at(positions)
        for field in rows.schema:
            hits = hits.append_column(field, rows[field.name])
        return hits

    def _rows_at(self, positions: npt.NDArray[np.int64]) -> pa.Table:
        """Return the row at each position; reads only the row groups that hold one."""
        wanted = pa.array(np.unique(positions))
        rows = self.rows.to_table(filter=ds.field(POSITION).isin(wanted))
        rows = rows.take(pc.index_in(pa.array(positions), rows[POSITION]))
        return rows.drop_columns([POSITION])


def _best(
    rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the `k` best of rows that may come several times, each with its best score."""
    order = np.argsort(-scores, kind="stable")
    order = order[rows[order] >= 0]
    _, first = np.unique(rows[order], return_index=True)
    chosen = order[np.sort(first)[:k]]
    return rows[chosen], scores[chosen]
