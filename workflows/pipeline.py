"""Pieces of a manifest through pools of actors into committed files, on Ray Data."""

import warnings
from collections.abc import Sequence

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.util.annotations import RayDeprecationWarning

from actors.ledger import LedgerHandle
from actors.pools import Pool
from actors.stage import Stage
from lakesight.errors import UserError
from lakesight.lake.manifest import Piece
from lakesight.lake.output import Output
from lakesight.lake.store import StoreError
from workflows.pieces import Committed, PieceSink, PieceSource

MAX_TASK_RETRIES = 3
"""How often a piece is tried again after its actor died, before the run ends with an error."""

CPUS_OF_SMALL_TASKS = 0.1
"""Reading a piece of the manifest and writing its rows: mostly waiting."""


def run_pipeline(
    output: Output, pieces: Sequence[Piece], pools: Sequence[Pool], ledger: LedgerHandle
) -> list[Committed]:
    """Stream the pieces through the pools; return what was committed. Blocks until it is done.

    Raises UserError for a mistake in the job, StoreError where a store stopped answering; what was
    committed until then stays.
    """
    num_writers = max(pool.num_actors for pool in pools)  # each a process that costs a start
    context = DataContext.get_current()
    context.memory_usage_poll_interval_s = None
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
