"""Pieces of a manifest through pools of actors into committed files, on Ray Data."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasink, WriteResult
from ray.util.annotations import RayDeprecationWarning

from actors.ledger import LedgerHandle
from actors.pools import Pool
from actors.stage import HIDDEN, Stage
from lakesight.errors import UserError
from lakesight.lake.manifest import Piece
from lakesight.lake.output import Output
from lakesight.lake.store import StoreError

MAX_TASK_RETRIES = 3
"""How often a piece is tried again after its actor died, before the run ends with an error."""

CPUS_OF_SMALL_TASKS = 0.1
"""Reading a piece of the manifest and writing its rows: mostly waiting."""


class PieceSource(Datasource):
    """One read task, and so one block, per pending piece of the manifest."""

    def __init__(self, output: Output, pieces: Sequence[Piece]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.output = output
        self.pieces = pieces

    def estimate_inmemory_data_size(self) -> int:
        """Return a few hundred bytes per key: URIs and etags."""
        return 300 * sum(piece.num_rows for piece in self.pieces)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """Return one task per piece, whatever parallelism Ray would like."""
        return [
            ReadTask(
                partial(_read_piece, self.output, piece),
                BlockMetadata(piece.num_rows, 300 * piece.num_rows, None, None),
            )
            for piece in self.pieces
        ]


def _read_piece(output: Output, piece: Piece) -> Iterable[Block]:
    """Yield a piece's keys; none of them if another run has committed it meanwhile."""
    rows = output.read_piece(piece)
    if output.is_committed(piece):
        rows = rows.slice(0, 0)
    yield rows.append_column("_piece", pa.array([piece.name] * rows.num_rows, pa.string()))


@dataclass
class Committed:
    """What one write task did with one piece."""

    piece: str
    num_rows: int
    errors: dict[str, int]
    """Rows with an error, by stage."""
    ours: bool
    """False: another run had committed it first, and this one's rows were dropped."""


class PieceSink(Datasink[list[Committed]]):
    """Writes each piece as one file, by one conditional create."""

    def __init__(self, output: Output, pieces: Sequence[Piece]) -> None:
        self.output = output
        self.pieces = {piece.name: piece for piece in pieces}
        self.committed: list[Committed] = []

    def write(self, blocks: Iterable[Block], ctx: object) -> list[Committed]:
        """Commit the pieces of some blocks; each block is one whole piece."""
        tables = [block for block in blocks if block.num_rows]
        return [self._commit(table) for table in tables]

    def _commit(self, table: pa.Table) -> Committed:
        names = table["_piece"].unique().to_pylist()
        assert len(names) == 1, f"a block holds pieces {names}"
        rows = table.sort_by("_index").drop_columns(HIDDEN.names)
        errors = [error["stage"] for error in rows["error"].to_pylist() if error]
        return Committed(
            piece=names[0],
            num_rows=rows.num_rows,
            errors={stage: errors.count(stage) for stage in sorted(set(errors))},
            ours=self.output.commit(self.pieces[names[0]], rows),
        )

    def on_write_complete(self, write_result: WriteResult[list[Committed]]) -> None:
        """Keep what the tasks returned, on the driver."""
        self.committed = [one for returned in write_result.write_returns for one in returned]


def run_pipeline(
    output: Output, pieces: Sequence[Piece], pools: Sequence[Pool], ledger: LedgerHandle
) -> list[Committed]:
    """Stream the pieces through the pools; return what was committed. Blocks until it is done.

    Raises UserError for a mistake in the job, StoreError where a store stopped answering; what was
    committed until then stays.
    """
    num_writers = max(pool.num_actors for pool in pools)  # each a process that costs a start
    context = DataContext.get_current()
    context.target_max_block_size = None  # a block is a piece, from the manifest to its file
    dataset = ray.data.read_datasource(
        PieceSource(output, pieces),
        override_num_blocks=len(pieces),
        num_cpus=CPUS_OF_SMALL_TASKS,
        concurrency=num_writers,
    )
    for pool in pools:
        dataset = _through(dataset, pool, ledger)
    sink = PieceSink(output, pieces)
    try:
        dataset.write_datasink(
            sink, ray_remote_args={"num_cpus": CPUS_OF_SMALL_TASKS}, concurrency=num_writers
        )
    except ray.exceptions.RayError as error:
        _raise_ours(error)
        raise
    return sink.committed


def _through(dataset: ray.data.Dataset, pool: Pool, ledger: LedgerHandle) -> ray.data.Dataset:
    """Return the dataset after a pool of actors."""
    with warnings.catch_warnings():
        # Ray 2.60 has no other way to bound the retries, and says that this one will go in 2.64.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return dataset.map_batches(
            Stage,
            fn_constructor_args=(pool.stage, ledger),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ActorPoolStrategy(
                size=pool.num_actors,
                max_concurrent_calls_per_actor=2,
                enable_true_multi_threading=True,
                max_tasks_in_flight_per_actor=3,
            ),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": MAX_TASK_RETRIES},
        )


def _raise_ours(error: BaseException) -> None:
    """Raise the error of ours that Ray wrapped, if there is one: it says what to do."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (UserError, StoreError)):
            raise cause from None
        cause = getattr(cause, "cause", None) or cause.__cause__
