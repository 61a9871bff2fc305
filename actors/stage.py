"""The one Ray Data actor: a piece in, and with every model one more column, to its commit."""

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from actors import columns
from actors.tally import PieceReport, Tallies, Tally
from lakesight.errors import UserError
from lakesight.lake.fetch import FetchError, fetch
from lakesight.lake.manifest import Piece
from lakesight.lake.output import Output
from lakesight.lake.store import StoreError
from lakesight.media.decode import Decoded, MediaError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.view import ImageView
from lakesight.models import catalog, guard
from lakesight.models.base import Frozen, Image, Model, ModelSpec
from lakesight.schemas import ROW, WORDS

READ = "read"
"""The stage name of fetching and decoding."""

OUT_OF_REACH = {
    "forbidden": "these credentials may list the source and not read it",
    "no bucket": "the machine that reads sees another endpoint than the one that listed",
}
"""What may be wrong where every object of a piece fails in this way."""


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
    commits: bool = True
    """Whether the rows are complete: the last stage writes them."""
    batch_size: int = 16
    num_threads: int = 1
    on_gpu: bool = False


@dataclass
class Batch:
    """Some rows and their pixels; rows that could not be decoded come without views."""

    rows: pa.Table
    views: dict[ImageView, list[Image]] = field(default_factory=dict)


class Stage:
    """Callable of Ray Data's `map_batches`: one block in, one block out, and a block is a piece.

    The first stage reads a piece's keys, and the last commits its rows; on CPUs they are one. Two
    blocks may be in here at once: while one waits for its last pictures, the other sees.
    """

    def __init__(self, config: StageConfig, output: Output) -> None:
        os.environ["OMP_NUM_THREADS"] = str(config.num_threads)  # before torch is imported
        if not config.on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from who asked for none
        self.config = config
        self.output = output
        decode = config.decode
        self.pool = (
            DecodePool(decode.views, decode.limits, decode.num_processes) if decode else None
        )
        self.refusal: UserError | StoreError | None = None
        self.models = self._built()
        self.batch_sizes = [config.batch_size] * len(self.models)
        self.locks = [nullcontext() if model.concurrent else Lock() for model in self.models]

    def _built(self) -> list[Model]:
        """Build the models. Ray loses an error of a constructor, so the first call raises it."""
        try:
            return catalog.build_all(self.config.models, self.config.num_threads)
        except (UserError, StoreError) as error:
            self.refusal = error
            return []

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the piece's rows with more columns; of the last stage, one `PieceReport`."""
        if self.refusal:
            raise self.refusal
        if not block.num_rows or columns.is_report(block):
            return block
        piece = Piece(**json.loads(block[columns.PIECE][0].as_py()))
        tallies, planned = Tallies(), None
        if self.pool is None:
            tallies = Tallies.model_validate_json(block[columns.TALLIES][0].as_py())
        if self.output.is_committed(piece):  # by another run, while this piece waited
            return self._report(piece, self.output.read_rows(piece, ["run_id", "error"]), tallies)
        if self.pool is None:
            batches = self._unpacked(block)
        else:
            planned = self.output.read_piece(piece)
            batches = self._decoded(planned, tallies)
        rows = pa.concat_tables([self._packed(self._seen(batch, tallies)) for batch in batches])
        if not self.config.commits:
            return _sealed(piece, rows, tallies)
        rows = rows.sort_by(columns.INDEX).drop_columns([columns.INDEX, *WORDS.names])
        self._refuse_if_all_out_of_reach(rows)
        if not self.output.commit(piece, rows, planned):
            rows = self.output.read_rows(piece, ["run_id", "error"])
        return self._report(piece, rows, tallies)

    def _refuse_if_all_out_of_reach(self, rows: pa.Table) -> None:
        """Raise UserError where nothing at all can be read: such rows would stand for ever.

        Once something was read, what is out of reach is so for reasons of its own, and is a row.
        """
        errors = rows["error"].to_pylist()
        for kind, reason in OUT_OF_REACH.items():
            if all(error and error["type"] == kind for error in errors):
                if not self.output.has_rows():
                    raise UserError(f"{reason}: {errors[0]['message']}")
                return

    def _report(self, piece: Piece, rows: pa.Table, tallies: Tallies) -> pa.Table:
        """Return what became of a piece, from the rows that stand in its file.

        They may be ours though this call did not write them: an actor that died after its commit
        is tried again.
        """
        report = PieceReport(
            piece=piece.name,
            num_rows=rows.num_rows,
            errors=Counter(error["stage"] for error in rows["error"].to_pylist() if error),
            ours=rows["run_id"][0].as_py() == self.config.run_id,
            tallies=tallies,
        )
        return pa.table({"_report": [report.model_dump_json()]}, schema=columns.REPORT)

    def _decoded(self, block: pa.Table, tallies: Tallies) -> Iterator[Batch]:
        """Yield pictures in batches as they become ready, then the rows that have none."""
        config, pool = self.config.decode, self.pool
        assert config is not None
        assert pool is not None
        tally = Tally(rows=block.num_rows)
        good: dict[int, Decoded] = {}
        errors: dict[int, FetchError | MediaError] = {}

        def fetched() -> Iterator[tuple[int, bytes]]:
            for index, data in fetch(
                block,
                max_bytes_in_flight=config.max_bytes_in_flight,
                concurrency=config.fetch_concurrency,
                max_object_bytes=config.limits.max_bytes,
            ):
                if isinstance(data, FetchError):
                    errors[index] = data
                else:
                    tally.bytes += len(data)
                    yield index, data

        start = time.perf_counter()
        for index, decoded in pool.decode(fetched()):
            if isinstance(decoded, MediaError):
                errors[index] = decoded
                continue
            good[index] = decoded
            if len(good) == self.config.batch_size:
                tally.seconds += time.perf_counter() - start
                yield self._batch(block, good)
                good = {}
                start = time.perf_counter()
        tally.seconds += time.perf_counter() - start
        tally.errors = len(errors)
        tallies.add(READ, tally)
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
        """Return the rows of a piece at `indices`, with what is known of each, words included."""
        known = block.take(pa.array(indices, pa.int32()))
        fresh = pa.Table.from_pylist(rows, schema=ROW)
        values = [known[name] if name in known.column_names else fresh[name] for name in ROW.names]
        values[ROW.names.index("run_id")] = pa.array([self.config.run_id] * len(rows))
        values.append(pa.array(indices, pa.int32()))
        values += [known[name] for name in WORDS.names]
        schema = pa.schema([*ROW, pa.field(columns.INDEX, pa.int32()), *WORDS])
        return pa.table(values, schema=schema)

    def _unpacked(self, block: pa.Table) -> Iterator[Batch]:
        """Yield the batches of a block that holds pixels, then the rows that have none."""
        block = block.drop_columns([columns.PIECE, columns.TALLIES])
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

    def _seen(self, batch: Batch, tallies: Tallies) -> Batch:
        for place in range(len(self.models)):
            batch.rows = self._see(place, batch, tallies)
        return batch

    def _see(self, place: int, batch: Batch, tallies: Tallies) -> pa.Table:
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
        stage, rows = self.config.models[place].stage, batch.rows
        tally = Tally(
            rows=rows.num_rows,
            errors=len(seen.errors),
            seconds=seen.seconds,
            runs_on={model.runs_on},
        )
        tallies.add(stage, tally)
        return _with_errors(_with_column(rows, column, seen.values), stage, seen.errors)

    def _packed(self, batch: Batch) -> pa.Table:
        """Return the rows, with the pixels that a later stage needs."""
        rows = batch.rows
        for view in self.config.keep:
            images = batch.views[view] if batch.views else None
            rows = rows.append_column(
                columns.pixels_name(view), columns.pack(view, images, rows.num_rows)
            )
        return rows


def _sealed(piece: Piece, rows: pa.Table, tallies: Tallies) -> pa.Table:
    """Return rows with what the next stage must know of their piece."""
    known = {
        columns.PIECE: json.dumps(dataclasses.asdict(piece)),
        columns.TALLIES: tallies.model_dump_json(),
    }
    for name, text in known.items():
        rows = rows.append_column(name, pa.array([text] * rows.num_rows, pa.string()))
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
