"""Rows with embeddings, as they stream by, into the files of one build."""

from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexes.flat import new_index, storage_of
from indexes.manifest import Digest, Recall, digest
from indexes.recall import BruteForce
from lakesight.errors import UserError
from lakesight.schemas import is_vector

INDEX = "index.faiss"
FEATURES = "features.f16"
"""What the model saw of each row, in the order of the rows: float16, little-endian."""
POSITION = "position"
"""The column of the rows that counts them, as their vectors lie in the index."""
ROWS_PER_FILE = 1 << 20
ROWS_PER_GROUP = 4096
"""What a lookup of one row reads at least."""
WAITING_BYTES = 32 << 20
"""The most that waits to become such a group."""
NUM_QUERIES, K = 64, 10
"""For the measured recall."""
NORM_TOLERANCE = 0.02
"""How far from 1 the length of a vector may be; float16 moves it by at most 0.001."""


class Builder:
    """An index that grows in memory, and the rows it stands for, that grow on disk."""

    def __init__(
        self, folder: Path, schema: pa.Schema, column: str, features: str | None = None
    ) -> None:
        """Take the columns of the vectors, and of the features where they are kept."""
        held = schema.field(column).type
        vector = held.value_type if pa.types.is_list(held) else held
        self.folder = folder
        self.column, self.features = column, features
        self.features_shape = None if features is None else shape_of(schema.field(features).type)
        self.dim = vector.list_size
        self.storage = storage_of(vector)
        self.index = new_index(self.storage, self.dim)
        self.schema = row_schema(schema)
        self.count = 0
        """Rows that were taken in."""
        self.vectors_per_row: int | None = None
        """The same for all of them; None before the first."""
        self.num_skipped = 0
        self._waiting: list[pa.Table] = []
        self._rows: pq.ParquetWriter | None = None
        self._true: BruteForce | None = None

    def add(self, rows: pa.Table) -> None:
        """Take in rows; those without a vector are passed over, those with a bad one counted.

        Raises UserError where rows have different numbers of vectors.
        """
        if rows[self.column].null_count:
            rows = rows.filter(pc.is_valid(rows[self.column]))
        if not rows.num_rows:
            return
        vectors = self._vectors(rows[self.column])
        lengths = np.linalg.norm(vectors, axis=2)
        good = (np.abs(lengths - 1) <= NORM_TOLERANCE).all(axis=1)  # NaN is not
        self.num_skipped += int((~good).sum())
        if good.all():
            self._append(rows, vectors)
        elif good.any():
            self._append(rows.filter(pa.array(good)), vectors[good])

    def _vectors(self, column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
        """Return the vectors of rows without nulls, `(N, V, dim)` float32."""
        counts = [1]
        if pa.types.is_list(column.type):
            counts = pc.unique(pc.list_value_length(column)).to_pylist()
            column = pc.list_flatten(column)
        if self.vectors_per_row is None:
            self.vectors_per_row = counts[0]
        if counts != [self.vectors_per_row] or not self.vectors_per_row:
            raise UserError(
                f"every row is to have as many vectors in {self.column!r}, but there are rows with "
                f"{' and '.join(map(str, dict.fromkeys([self.vectors_per_row, *counts])))}"
            )
        return vectors_of(column).reshape(-1, self.vectors_per_row, self.dim)

    def finish(self) -> tuple[Recall, dict[str, Digest]]:
        """Close the files and measure the recall; return it with the digest of each file."""
        assert self._true is not None
        if self._waiting:
            self._write_rows()
        assert self._rows is not None
        self._rows.close()
        faiss.write_index(self.index, str(self.folder / INDEX))
        files = {}
        for path in sorted(self.folder.iterdir()):
            with path.open("rb") as file:
                files[path.name] = digest(file)
        return self._true.measure(self.index), files

    def _append(self, rows: pa.Table, vectors: npt.NDArray[np.float32]) -> None:
        start, flat = self.count, vectors.reshape(-1, self.dim)
        self.count += len(vectors)
        positions = pa.array(np.arange(start, start + len(vectors)))
        kept = rows.append_column(POSITION, positions).select(self.schema.names)
        self._keep_rows(kept.cast(self.schema))
        self.index.add(flat)
        if self.features is not None:
            self._keep_features(rows[self.features])
        if self._true is None:
            spread = np.linspace(0, len(flat) - 1, min(NUM_QUERIES, len(flat)))
            self._true = BruteForce(flat[spread.astype(np.int64)], K)
        self._true.see(flat)

    def _keep_rows(self, rows: pa.Table) -> None:
        """Hold rows until they are worth a group of their file."""
        self._waiting.append(rows)
        waiting = self._waiting
        many = sum(one.num_rows for one in waiting) >= ROWS_PER_GROUP
        if many or sum(one.nbytes for one in waiting) >= WAITING_BYTES:
            self._write_rows()

    def _write_rows(self) -> None:
        """Write the rows that wait, a new file beginning after every `ROWS_PER_FILE`."""
        rows, self._waiting = pa.concat_tables(self._waiting), []
        first = rows[POSITION][0].as_py()
        done = 0
        while done < rows.num_rows:
            number, before = divmod(first + done, ROWS_PER_FILE)
            part = rows.slice(done, ROWS_PER_FILE - before)
            self._writer(number).write_table(part, row_group_size=ROWS_PER_GROUP)
            done += part.num_rows

    def _keep_features(self, column: pa.ChunkedArray) -> None:
        if column.null_count:
            raise UserError(f"there are rows with vectors and without {self.features!r}")
        with (self.folder / FEATURES).open("ab") as file:
            for chunk in column.chunks:
                flat = chunk.flatten().flatten().to_numpy()
                file.write(flat.astype("<f2", copy=False).data)

    def _writer(self, number: int) -> pq.ParquetWriter:
        """Return the file of this number, which is the last one or a new one."""
        path = self.folder / f"rows-{number:05d}.parquet"
        if self._rows is None or not path.exists():
            if self._rows is not None:
                self._rows.close()
            self._rows = pq.ParquetWriter(path, self.schema, compression="zstd")
        return self._rows


def shape_of(kind: pa.DataType) -> tuple[int, int]:
    """Return the shape of a column of features; UserError where it is none."""
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_fixed_size_list(kind.value_type)):
        raise UserError(
            f"expected a column of features, got {kind}: embed with --set embed.write=features"
        )
    return kind.list_size, kind.value_type.list_size


def row_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns that an index keeps of its rows: all but vectors and features."""
    kept = [
        field
        for field in schema
        if not is_vector(field.type) and not pa.types.is_fixed_size_list(field.type)
    ]
    return pa.schema([pa.field(POSITION, pa.int64(), nullable=False), *kept])


def vectors_of(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of fixed-size lists without nulls as `(N, dim)` float32."""
    dim = column.type.list_size
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat, dtype=np.float32).reshape(-1, dim)
