"""The one Ray Data actor: pieces or pixels in, rows with one more column per model out."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from actors import columns
from actors.ledger import LedgerHandle
from lakesight.lake.fetch import FetchError, fetch
from lakesight.media.decode import Decoded, MediaError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.view import ImageView
from lakesight.models import catalog, guard
from lakesight.models.base import Frozen, Image, ModelSpec
from lakesight.schemas import ROW

READ = "read"
"""The name, in the ledger, of fetching and decoding."""


class DecodeConfig(Frozen):
    """How a stage turns objects into pixels."""

    views: tuple[ImageView, ...]
    limits: Limits = Limits()
    num_processes: int
    max_bytes_in_flight: int = 256 << 20
    fetch_concurrency: int = 16


class StageConfig(Frozen):
    """What one pool of actors does: decode first, or not; then some models, in order."""

    run_id: str
    decode: DecodeConfig | None
    """None: the blocks that arrive hold pixels already."""
    models: tuple[ModelSpec, ...]
    keep: tuple[ImageView, ...] = ()
    """Views that a later stage needs: their pixels leave with the rows."""
    batch_size: int = 16
    num_threads: int = 1


@dataclass
class Batch:
    """Some rows and their pixels; rows that could not be decoded come without views."""

    rows: pa.Table
    views: dict[ImageView, list[Image]] = field(default_factory=dict)


class Stage:
    """Callable of Ray Data's `map_batches`: one block in, one block out, row for row.

    Two blocks may be in here at once: while one waits for its last pictures, the other sees.
    """

    def __init__(self, config: StageConfig, ledger: LedgerHandle) -> None:
        os.environ["OMP_NUM_THREADS"] = str(config.num_threads)  # before torch is imported
        self.config = config
        self.ledger = ledger
        self.models = catalog.build_all(config.models, config.num_threads)
        self.batch_sizes = [config.batch_size] * len(self.models)
        self.locks = [threading.Lock() for _ in self.models]
        decode = config.decode
        self.pool = (
            DecodePool(decode.views, decode.limits, decode.num_processes) if decode else None
        )

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the block's rows with this stage's columns, in no particular order."""
        if not block.num_rows:
            return block  # another run has committed this piece meanwhile
        batches = self._decoded(block) if self.pool else self._unpacked(block)
        return pa.concat_tables([self._packed(self._seen(batch)) for batch in batches])

    def _decoded(self, block: pa.Table) -> Iterator[Batch]:
        """Yield pictures in batches as they become ready, then the rows that have none."""
        config, pool = self.config.decode, self.pool
        assert config is not None
        assert pool is not None
        start, seconds, num_bytes = time.perf_counter(), 0.0, 0
        good: dict[int, Decoded] = {}
        errors: dict[int, FetchError | MediaError] = {}

        def fetched() -> Iterator[tuple[int, bytes]]:
            nonlocal num_bytes
            for index, data in fetch(
                block,
                max_bytes_in_flight=config.max_bytes_in_flight,
                concurrency=config.fetch_concurrency,
                max_object_bytes=config.limits.max_bytes,
            ):
                if isinstance(data, FetchError):
                    errors[index] = data
                else:
                    num_bytes += len(data)
                    yield index, data

        for index, decoded in pool.decode(fetched()):
            if isinstance(decoded, MediaError):
                errors[index] = decoded
                continue
            good[index] = decoded
            if len(good) == self.config.batch_size:
                seconds += time.perf_counter() - start
                yield self._batch(block, good)
                good = {}
                start = time.perf_counter()
        seconds += time.perf_counter() - start
        self.ledger.add.remote(READ, block.num_rows, len(errors), seconds, num_bytes)
        if good:
            yield self._batch(block, good)
        if errors:
            yield Batch(self._error_rows(block, errors))

    def _batch(self, block: pa.Table, good: Mapping[int, Decoded]) -> Batch:
        assert self.config.decode is not None
        rows: list[dict[str, object]] = [
            {"status": "ok", "width": one.width, "height": one.height, "format": one.format}
            for one in good.values()
        ]
        views = {
            view: [picture.views[place] for picture in good.values()]
            for place, view in enumerate(self.config.decode.views)
        }
        return Batch(self._rows(block, list(good), rows), views)

    def _error_rows(
        self, block: pa.Table, errors: Mapping[int, FetchError | MediaError]
    ) -> pa.Table:
        rows: list[dict[str, object]] = [
            {"status": "error", "error": _describe(error)} for error in errors.values()
        ]
        return self._rows(block, list(errors), rows)

    def _rows(self, block: pa.Table, indices: list[int], rows: list[dict[str, object]]) -> pa.Table:
        """Return the rows of a piece at `indices`, with what is known of each."""
        known = block.take(pa.array(indices, pa.int32()))
        fresh = pa.Table.from_pylist(rows, schema=ROW)
        values = [known[name] if name in known.column_names else fresh[name] for name in ROW.names]
        values[ROW.names.index("run_id")] = pa.array([self.config.run_id] * len(rows))
        place = [known["_piece"], pa.array(indices, pa.int32())]
        return pa.table(values + place, schema=pa.schema([*ROW, *columns.PLACE]))

    def _unpacked(self, block: pa.Table) -> Iterator[Batch]:
        """Yield the batches of a block that holds pixels, then the rows that have none."""
        names = [name for name in block.column_names if name.startswith(columns.PIXELS)]
        decoded = block["width"].is_valid()
        if not pc.all(decoded).as_py():
            yield Batch(block.drop_columns(names).filter(pc.invert(decoded)))
            block = block.filter(decoded)
        for start in range(0, block.num_rows, self.config.batch_size):
            part = block.slice(start, self.config.batch_size)
            views = {
                view: columns.unpack(view, part[columns.pixels_name(view)])
                for view in {model.view for model in self.models} | set(self.config.keep)
            }
            yield Batch(part.drop_columns(names), views)

    def _seen(self, batch: Batch) -> Batch:
        for place in range(len(self.models)):
            batch.rows = self._see(place, batch)
        return batch

    def _see(self, place: int, batch: Batch) -> pa.Table:
        """Return the batch's rows with the column of one model."""
        model = self.models[place]
        column = model.output
        if not batch.views:
            nothing = pa.nulls(batch.rows.num_rows, model.output.type)
            return _with_column(batch.rows, column, nothing)
        with self.locks[place]:
            seen = guard.see(
                model, batch.views[model.view], batch.rows, max_batch=self.batch_sizes[place]
            )
            self.batch_sizes[place] = min(self.batch_sizes[place], seen.max_batch)
        stage = model.card.name
        self.ledger.add.remote(stage, batch.rows.num_rows, len(seen.errors), seen.seconds)
        return _with_errors(_with_column(batch.rows, column, seen.values), stage, seen.errors)

    def _packed(self, batch: Batch) -> pa.Table:
        """Return the rows, with the pixels that a later stage needs."""
        rows = batch.rows
        for view in self.config.keep:
            images = batch.views[view] if batch.views else None
            rows = rows.append_column(
                columns.pixels_name(view), columns.pack(view, images, rows.num_rows)
            )
        return rows


def _describe(error: FetchError | MediaError) -> dict[str, str]:
    """Return the `error` of a row that has no picture."""
    if isinstance(error, FetchError):
        return {"stage": "fetch", "type": error.reason, "message": str(error)}
    return {"stage": "decode", "type": error.type, "message": error.message}


def _with_column(rows: pa.Table, column: pa.Field, values: pa.Array) -> pa.Table:
    """Return the rows with a column added, or replaced where a model refines an earlier one's."""
    if column.name in rows.column_names:
        return rows.set_column(rows.column_names.index(column.name), column, values)
    return rows.append_column(column, values)


def _with_errors(rows: pa.Table, stage: str, errors: Mapping[int, Exception]) -> pa.Table:
    """Return the rows with the errors of one model; an earlier error of a row stands."""
    if not errors:
        return rows
    status, known = rows["status"].to_pylist(), rows["error"].to_pylist()
    for row, error in errors.items():
        status[row] = "error"
        known[row] = known[row] or {
            "stage": stage,
            "type": type(error).__name__,
            "message": str(error),
        }
    for name, values in (("status", status), ("error", known)):
        column = ROW.field(name)
        rows = _with_column(rows, column, pa.array(values, column.type))
    return rows
