"""Reading an output: `lakesight.open(OUTPUT)`."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakesight.lake.data_file import declared_schema
from lakesight.lake.local import LocalStore
from lakesight.lake.output import Output
from lakesight.lake.settings import Settings
from lakesight.lake.subtract import Subtraction
from lakesight.schemas import LISTING

if TYPE_CHECKING:
    import pyarrow.dataset as ds


READ_BYTES = 4 << 20
"""Of each column of a file that are read at once."""


class Lake:
    """The committed rows of an output, each id once. What is committed later needs a new `open`."""

    def __init__(self, output: Output, settings: Settings | None = None) -> None:
        """Open an output, whose `settings` are read unless given."""
        self.output = output
        self._settings: Settings = output.settings() if settings is None else settings

    @property
    def settings(self) -> dict[str, Any]:
        """What every row was made with."""
        return dict(self._settings.values)

    def parts(self, num_parts: int) -> "list[Lake]":
        """Return the rows as at most so many lakes, in the order of their files.

        Each shows its files as this lake sees them now, and pickles, to be read elsewhere.
        """
        superseded, step = self._superseded, max(1, -(-len(self._names) // num_parts))
        parts = []
        for start in range(0, max(1, len(self._names)), step):
            part = Lake(self.output, self._settings)
            part._names, part._superseded = self._names[start : start + step], superseded
            parts.append(part)
        return parts

    @cached_property
    def _names(self) -> list[str]:
        """The pieces that are committed; anything else in `data/` is not ours."""
        planned = {piece.name for piece in self.output.pieces()}
        return sorted(planned.intersection(self.output.committed()))

    def files(self) -> list[str]:
        """Return the data files as `s3://…` URIs or local paths, for `polars.scan_parquet`.

        For DuckDB's `read_parquet` too. An output without rows has no files.
        """
        keys = [self.output.data_key(name) for name in self._names]
        store = self.output.store
        return [
            str(store.root / key) if isinstance(store, LocalStore) else store.uri(key)
            for key in keys
        ]

    def dataset(self) -> "ds.Dataset":
        """Return the rows as an Arrow dataset; where there are none, its schema still stands."""
        import pyarrow.dataset as ds  # brings pandas along, which most commands never need

        filesystem, root = self.output.store.filesystem()
        paths = [f"{root}/{self.output.data_key(name)}" for name in self._names]
        if not paths:
            schema = self._settings.schema or pa.schema([])
            return ds.dataset(schema.empty_table())
        schema = self._settings.schema
        if schema is None:
            first = ds.dataset(paths[:1], filesystem=filesystem, format="parquet")
            schema = declared_schema(first.schema)
        return ds.dataset(paths, schema=schema, filesystem=filesystem, format="parquet")

    def latest(
        self, columns: Sequence[str] | None = None, max_rows: int | None = None
    ) -> pa.RecordBatchReader:
        """Return the rows of each uri's latest etag, as a stream.

        The latest is the last that was listed, also while its rows are not committed yet. Of
        `columns`, where given, `uri` and `etag` must be two. `max_rows` is for rows that are large:
        so many at once are in memory, where else several files are read ahead.
        """
        dataset, superseded = self.dataset(), self.superseded()
        if max_rows is None:
            scanner = dataset.scanner(columns=None if columns is None else list(columns))
            if not superseded.num_rows:
                return scanner.to_reader()
            schema, batches = scanner.projected_schema, scanner.to_batches()
        else:
            names = dataset.schema.names if columns is None else columns
            schema = pa.schema([dataset.schema.field(name) for name in names])
            batches = self._in_turn(schema, max_rows)
        keys = _keys(superseded)
        kept = (_without(batch, keys) for batch in batches)
        return pa.RecordBatchReader.from_batches(schema, kept)

    def _in_turn(self, schema: pa.Schema, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield columns of the rows, file by file, and of none of them more than it takes."""
        filesystem, root = self.output.store.filesystem()
        for name in self._names:
            path = f"{root}/{self.output.data_key(name)}"
            with (
                filesystem.open_input_file(path) as source,
                pq.ParquetFile(source, buffer_size=READ_BYTES) as file,
            ):
                for batch in file.iter_batches(max_rows, columns=schema.names):
                    yield batch.select(schema.names).cast(schema)

    def count(self) -> int:
        """Return the number of rows, from the footers of the files."""
        return int(self.dataset().count_rows())

    def runs(self) -> list[dict[str, Any]]:
        """Return what each finished run wrote down: config, models, counts, timings."""
        return self.output.runs()

    def storage_options(self) -> dict[str, str]:
        """Return what `polars.scan_parquet(files, storage_options=…)` needs: holds credentials."""
        return self.output.store.storage_options()

    def superseded(self) -> pa.Table:
        """Return `uri` and `etag` of the objects that a later listing saw with another etag.

        Costs nothing where no object ever changed, and nothing the second time.
        """
        return self._superseded

    @cached_property
    def _superseded(self) -> pa.Table:
        generations = self.output.generations()
        if not any(each.num_changed for each in generations):
            return LISTING.empty_table().select(["uri", "etag"])
        with Subtraction() as work:
            for generation in generations:
                work.add_known(self.output.store, self.output.prefix, generation)
            return work.superseded()


def _keys(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """Return one string per row for its object; no etag holds a line feed."""
    joined = pc.binary_join_element_wise(rows["etag"], rows["uri"], "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _without(batch: pa.RecordBatch, superseded: pa.Array) -> pa.RecordBatch:
    if not len(superseded):
        return batch
    return batch.filter(pc.invert(pc.is_in(_keys(batch), value_set=superseded)))
