"""What the workers of a training have, and what it means when one ends: with Ray's own errors."""

import logging

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from actors.pools import Node
from lakesight.errors import UserError
from lakesight.lake.store import StoreError
from workflows.workers import check_lost, cpus_per_worker, uses_gpus


@pytest.mark.parametrize(
    ("num_workers", "machines", "cpus"),
    [(1, [2], 2), (1, [8, 8], 8), (2, [8, 8], 8), (3, [8, 8], 4), (5, [8, 4], 2), (4, [4], 1)],
)
def test_workers_fit_on_the_machines(num_workers: int, machines: list[int], cpus: int) -> None:
    assert cpus_per_worker(num_workers, [Node(cpus=count) for count in machines]) == cpus


def test_workers_that_do_not_fit_are_refused() -> None:
    nodes = [Node(cpus=2, gpus=1), Node(cpus=2, gpus=1)]
    with pytest.raises(UserError, match="5 workers want a CPU each, and there are 4"):
        cpus_per_worker(5, nodes)
    with pytest.raises(UserError, match="give --num-workers 2"):
        uses_gpus(3, None, nodes)
    assert uses_gpus(2, None, nodes)
    assert not uses_gpus(3, 0, nodes)
    assert not uses_gpus(1, None, [Node(cpus=2)])


def group(*failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("Traceback of a worker", dict(enumerate(failures)))


DEAD = WorkerHealthCheckFailedError("no answer", ActorDiedError())
PEER = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:48306")


@pytest.mark.parametrize(
    "error",
    [
        group(DEAD),
        group(IndexError("it was cut off in the middle"), DEAD),
        group(PEER),
        ControllerError(ActorDiedError()),
        ActorDiedError(),
    ],
)
def test_a_lost_process_is_worth_another_try(error: Exception) -> None:
    check_lost(error, verbose=False)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (group(IndexError("index 7")), "the training ended with IndexError: index 7. What is"),
        (group(PEER, MemoryError("out of memory")), "ended with MemoryError: out of memory"),
        (ControllerError(GetTimeoutError("too slow")), "ended with GetTimeoutError: too slow"),
        (group(PEER, UserError("the loss is nan")), "^the loss is nan$"),
    ],
)
def test_what_would_end_again_ends_at_once(error: TrainingFailedError, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_lost(error, verbose=False)


def test_a_store_that_does_not_answer_stays_what_it_is() -> None:
    with pytest.raises(StoreError, match="no answer"):
        check_lost(group(StoreError("no answer")), verbose=False)


def test_the_traceback_is_there_for_who_asks(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError), caplog.at_level(logging.ERROR):
        check_lost(group(IndexError("index 7")), verbose=False)
    assert not caplog.text
    with pytest.raises(UserError):
        check_lost(group(IndexError("index 7")), verbose=True)
    assert "Traceback of a worker" in caplog.text
