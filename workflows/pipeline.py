"""Pieces of a manifest through pools of actors into committed files, on Ray Data."""

import dataclasses
import json
import warnings
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.util.annotations import RayDeprecationWarning

from actors.columns import PIECE
from actors.pools import Pool
from actors.stage import Stage
from actors.tally import PieceReport
from lakesight.errors import UserError
from lakesight.lake.manifest import Piece
from lakesight.lake.output import Output
from lakesight.lake.store import StoreError

MAX_TASK_RETRIES = 3
"""How often a piece is tried again after its actor died, before the run ends with an error."""


def run_pipeline(
    output: Output, pieces: Sequence[Piece], pools: Sequence[Pool]
) -> Iterator[PieceReport]:
    """Stream the pieces through the pools; yield what became of each, as it is committed.

    Raises UserError for a mistake in the job, StoreError where a store stopped answering; what was
    committed until then stays.
    """
    context = DataContext.get_current()
    context.target_max_block_size = None  # a block is a piece, from the manifest to its file
    context.raise_original_map_exception = True
    context.memory_usage_poll_interval_s = None  # reading a large actor's memory map takes a while
    blocks = [pa.table({PIECE: [json.dumps(dataclasses.asdict(piece))]}) for piece in pieces]
    dataset = ray.data.from_blocks(blocks)
    for pool in pools:
        dataset = _through(dataset, pool, output)
    try:
        for batch in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            for report in batch["_report"].to_pylist():
                yield PieceReport.model_validate_json(report)
    except ray.exceptions.RayError as error:
        raise_ours(error)
        raise


def _through(dataset: ray.data.Dataset, pool: Pool, output: Output) -> ray.data.Dataset:
    """Return the dataset after a pool of actors."""
    with warnings.catch_warnings():
        # Ray 2.60 has no other way to bound the retries, and says that this one will go in 2.64.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return dataset.map_batches(
            Stage,
            fn_constructor_args=(pool.stage, output),
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


def raise_ours(error: BaseException) -> None:
    """Raise the error of ours that Ray wrapped, if there is one: it says what to do."""
    cause: BaseException | None = error
    while cause is not None:
        inner: BaseException | None = getattr(cause, "cause", None)
        if isinstance(cause, (UserError, StoreError)) and inner is None:
            # Not Ray's double of it, whose text is a traceback; and without the advice that Ray
            # Data adds below our own line.
            raise type(cause)(str(cause).splitlines()[0]) from None
        cause = inner or cause.__cause__
