"""The workers of a training: what each of them has, and what it means when one ends."""

import logging
from collections.abc import Iterator, Sequence

import torch.distributed
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError
from ray.train import PreemptionError

from actors.pools import Node
from lakesight.errors import UserError
from lakesight.lake.store import StoreError

log = logging.getLogger(__name__)

DEATHS = (RayActorError, NodeDiedError, WorkerCrashedError, OutOfMemoryError, PreemptionError)
"""What Ray says of a process, or of a machine, that is no more."""
WRAPPED = ("controller_failure", "health_check_failure", "cause", "__cause__")
"""Where Ray's errors keep what they came from."""


def cpus_per_worker(num_workers: int, nodes: Sequence[Node]) -> int:
    """Return the most CPUs that every worker can have; UserError where they do not fit at all.

    A worker that fits nowhere would wait for ever.
    """
    most = int(max((node.cpus for node in nodes), default=0))
    for cpus in range(most, 0, -1):
        if sum(int(node.cpus // cpus) for node in nodes) >= num_workers:
            return cpus
    total = int(sum(node.cpus for node in nodes))
    raise UserError(f"{num_workers} workers want a CPU each, and there are {total}")


def uses_gpus(num_workers: int, wanted: int | None, nodes: Sequence[Node]) -> bool:
    """Return whether every worker has a GPU; UserError where only some would."""
    gpus = sum(node.gpus for node in nodes) if wanted is None else wanted
    if 0 < gpus < num_workers:
        raise UserError(
            f"{num_workers} workers want a GPU each, and there are {int(gpus)}: give "
            f"--num-workers {int(gpus)}, or --gpus 0 to train on CPUs"
        )
    return gpus > 0


def check_lost(error: BaseException, *, verbose: bool) -> None:
    """Return where a process or a machine was lost: another try may go on from the last epoch.

    Raises what a worker said of a mistake or of the store, and else, as it would end the next try
    too, UserError; `verbose` logs the workers' tracebacks first.
    """
    failures = [list(_causes(one)) for one in getattr(error, "worker_failures", {}).values()]
    every = [one for failure in (failures or [list(_causes(error))]) for one in failure]
    for one in every:
        if isinstance(one, UserError | StoreError):
            raise type(one)(str(one).splitlines()[0]) from error
    if any(isinstance(one, DEATHS) for one in every):
        return
    own = [failure for failure in failures if not any(map(_is_of_a_lost_peer, failure))]
    if failures and not own:
        return
    if verbose:
        log.error("%s", error)
    last = own[0][-1] if own else every[-1]
    what = str(last).strip().partition("\n")[0]
    raise UserError(
        f"the training ended with {type(last).__name__}: {what}. What is trained stays: run it "
        "again to go on, with --verbose to see where it came from"
    ) from error


def last_line(error: BaseException) -> str:
    """Return the first sentence of the last line of what an error says."""
    return str(error).strip().splitlines()[-1].partition(". ")[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, the first cause last."""
    seen: list[BaseException] = []
    here: BaseException | None = error
    while here is not None and not any(here is one for one in seen):
        yield here
        seen.append(here)
        inner = (getattr(here, name, None) for name in WRAPPED)
        here = next((one for one in inner if isinstance(one, BaseException)), None)


def _is_of_a_lost_peer(error: BaseException) -> bool:
    """Return whether a worker could not reach another one, which says itself why."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
