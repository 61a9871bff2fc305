"""Ray, quietly: join the cluster that is there, or start one for this run."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

import psutil
import ray

from actors.pools import Node
from lakesight.errors import UserError
from workflows.progress import say

DASHBOARD = "RAY_API_SERVER_ADDRESS"
GRACE_S = 10
"""How long Ray may still take to say itself that its raylet ended."""


@contextmanager
def cluster(address: str | None, *, verbose: bool) -> Iterator[list[Node]]:
    """Yield the machines of the cluster at `address`; leave it, or end our own, afterwards.

    Without an address, a cluster of this machine alone is started, and ended with the run.
    """
    for name in () if verbose else ("ray", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    address = address or "local"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with nullcontext() if verbose else _python_alone_on_stderr():
        try:
            with _of_our_own() if address == "local" else nullcontext():
                ray.init(
                    address=address,
                    logging_level=logging.INFO if verbose else logging.ERROR,
                    log_to_driver=verbose,
                    include_dashboard=False if address == "local" else None,
                )
        except (ConnectionError, ValueError) as error:
            raise _cannot_join(address, error) from error
        except Exception as error:
            if type(error) is Exception:  # all that Ray says where no raylet came in 30 s
                raise UserError(_not_started(str(error).partition(".")[0])) from error
            raise
        if address == "local":
            _end_autoscaler()
        _quieten_ray_data(verbose=verbose)
        try:
            yield [
                _node(node["Resources"])
                for node in ray.nodes()  # type: ignore[no-untyped-call]
                if node["Alive"]
            ]
        finally:
            ray.shutdown()


def check_reachable(address: str) -> None:
    """Raise UserError where nobody listens at `HOST:PORT`: Ray would try for ever."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "//" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise _cannot_join(address, error) from error


def _cannot_join(address: str, error: Exception) -> UserError:
    reason = str(error).partition("\n")[0]
    return UserError(
        f"cannot join the Ray cluster at {address!r}: {reason}. Check --address and RAY_ADDRESS, "
        "and where the cluster asks for a token RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
    )


@contextmanager
def _of_our_own() -> Iterator[None]:
    """Start a cluster of this machine alone."""
    over = threading.Event()
    threading.Thread(target=_end_with_raylet, args=(over,), name="raylet", daemon=True).start()
    try:
        with _without_dashboard():
            yield
    finally:
        over.set()


def _end_with_raylet(over: threading.Event) -> None:
    """End this process where Ray's raylet ends while Ray starts: it would wait for it for ever.

    The raylet gives up after 15 seconds where the machine is too busy to start its agents
    (https://github.com/ray-project/ray/issues/65983). What waits is C++, which no exception
    reaches; the other processes of the cluster end with this one.
    """
    raylet: psutil.Process | None = None
    while not over.wait(1):
        with suppress(psutil.Error):
            children = psutil.Process().children()
            raylet = next((one for one in children if one.name() == "raylet"), raylet)
        if raylet is not None and _has_ended(raylet) and not over.wait(GRACE_S):
            say(f"lakesight: {_not_started('its raylet ended')}")
            os._exit(1)


def _not_started(reason: str) -> str:
    return (
        f"Ray did not start: {reason}. It gives up where the machine is too busy: run the same "
        "command again, or with --verbose to see what Ray says"
    )


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def _without_dashboard() -> Iterator[None]:
    """Let the processes that start here know that no dashboard is theirs.

    Ray Train asks a dashboard whether its controller lives, and ends the training where it does
    not. Of a cluster without one it asks that of another cluster of this machine, which never saw
    our controller. At port 9 (discard, RFC 863) nobody answers, and it goes on.
    """
    before = os.environ.get(DASHBOARD)
    os.environ[DASHBOARD] = "http://127.0.0.1:9"
    try:
        yield
    finally:
        del os.environ[DASHBOARD]
        if before is not None:
            os.environ[DASHBOARD] = before


def _end_autoscaler() -> None:
    """End the autoscaler of our own cluster: one machine does not grow.

    Ray waits a second for it at the end, in vain, and it takes 100 MB until then.
    """
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if any(word.endswith("autoscaler/_private/monitor.py") for word in process.cmdline()):
                process.kill()


@contextmanager
def _python_alone_on_stderr() -> Iterator[None]:
    """Drop what Ray's C++ core writes to file descriptor 2; its log files have it too."""
    before = sys.stderr
    with os.fdopen(os.dup(2), "w", buffering=1) as python, Path(os.devnull).open("w") as nowhere:
        _move_stderr(before, python)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(python.fileno(), 2)
            _move_stderr(python, before)


def _move_stderr(old: TextIO, new: TextIO) -> None:
    sys.stderr = new
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _node(resources: dict[str, float]) -> Node:
    return Node(cpus=resources.get("CPU", 0), gpus=resources.get("GPU", 0))


def _quieten_ray_data(*, verbose: bool) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose
    if not verbose:  # what it logs as an error, it also raises
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
