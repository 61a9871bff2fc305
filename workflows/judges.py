"""Evaluation by many: shares of pictures, or of an output's files, judged on Ray and merged.

The figures are those of one process, to the last digit: shares are of whole batches, and are merged
in their order, whoever is done first.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import ray

from actors.judging import Judging, JudgingConfig
from actors.pools import Node
from lakesight.errors import UserError
from lakesight.evaluation import Judge, Share, Texts, shares_of
from lakesight.models import catalog
from lakesight.models.base import Frozen, ModelSpec
from lakesight.training.yolo.datasets import Pictures
from workflows.cluster import check_reachable, cluster
from workflows.pipeline import raise_ours
from workflows.workers import cpus_per_worker

SHARES_A_WORKER = 8
"""So that one that is slow does not keep the others waiting."""
MAX_RETRIES = 3
"""How often a share is judged again after its worker died."""

Told = Callable[[int], None]
"""Hears how many pictures are done."""


class Workers(Frozen):
    """Who judges."""

    num_workers: int
    gpus: float | None = None
    """That they share; those of the cluster where it is None."""
    address: str | None = None
    """Of a cluster; None: of this machine alone."""
    verbose: bool = False


def judge_pictures(
    judge: Judge[Any],
    spec: ModelSpec,
    data: Pictures | Texts,
    batch_size: int,
    workers: Workers,
    told: Told,
) -> None:
    """Let a judge see what a model finds on all pictures: see `evaluation.add_pictures`."""
    shares = shares_of(data, workers.num_workers * SHARES_A_WORKER, batch_size)
    _judge(judge, spec, shares, "look", batch_size, list(map(len, shares)), workers, told)


def judge_rows(
    judge: Judge[Any], shares: Sequence[Share], column: str, workers: Workers, told: Told
) -> None:
    """Let a judge see a column of all shares of an output: see `evaluation.add_rows`."""
    sizes = [len(share.pairs) for share in shares]
    _judge(judge, None, shares, "read", column, sizes, workers, told)


def _judge(
    judge: Judge[Any],
    spec: ModelSpec | None,
    shares: Sequence[Any],
    method: str,
    how: Any,
    sizes: Sequence[int],
    workers: Workers,
    told: Told,
) -> None:
    if workers.address:
        check_reachable(workers.address)
    done = 0
    with (
        redirect_stdout(sys.stderr),  # where Ray tells of a worker that died: stdout is for figures
        cluster(workers.address, verbose=workers.verbose) as nodes,
    ):
        fresh = ray.put(judge)
        actors = _actors(spec, min(workers.num_workers, len(shares)), workers, nodes)
        calls = [
            lambda actor, share=share: getattr(actor, method).remote(fresh, share, how)
            for share in shares
        ]
        try:
            for found, size in zip(_in_order(actors, calls), sizes, strict=True):
                judge.merge(found)
                done += size
                told(done)
        except ray.exceptions.RayError as error:
            raise_ours(error)
            raise UserError(
                f"a worker ended again and again, {MAX_RETRIES + 1} times in all, at the pictures "
                f"from number {done + 1} on: {str(error).strip().splitlines()[-1]}"
            ) from error


def _actors(
    spec: ModelSpec | None, count: int, workers: Workers, nodes: Sequence[Node]
) -> list[Any]:
    """Start the workers, each with its part of the machines."""
    cpus = cpus_per_worker(workers.num_workers, nodes)
    gpus = sum(node.gpus for node in nodes) if workers.gpus is None else workers.gpus
    on_gpu = bool(gpus and spec and catalog.can_use_gpu(spec, here=not workers.address))
    share = min(1.0, math.floor(100 * gpus / workers.num_workers) / 100) if on_gpu else 0.0
    config = JudgingConfig(spec=spec, num_threads=cpus, on_gpu=share > 0, here=str(Path.cwd()))
    kind = ray.remote(Judging).options(
        num_cpus=cpus, num_gpus=share, max_restarts=-1, max_task_retries=MAX_RETRIES
    )
    return [kind.remote(config) for _ in range(count)]


def _in_order(actors: Sequence[Any], calls: Sequence[Callable[[Any], Any]]) -> Iterator[Any]:
    """Yield what each call gives, in their order; an actor takes the next when it is done."""
    idle, waiting = list(actors), list(enumerate(calls))[::-1]
    running: dict[Any, tuple[int, Any]] = {}
    ready: dict[int, Any] = {}
    due = 0
    while due < len(calls):
        while idle and waiting:
            number, call = waiting.pop()
            actor = idle.pop()
            running[call(actor)] = number, actor
        (found, *_), _ = ray.wait(list(running))
        number, actor = running.pop(found)
        idle.append(actor)
        ready[number] = found
        while due in ready:
            yield ray.get(ready.pop(due))
            due += 1
