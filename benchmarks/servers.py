"""The servers of `benchmarks.serve`: ours, and its peer in several ways; each runs when needed."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from benchmarks.served import OPTIONS
from lakesight.runtimes.base import usable_cpus

READY_S = 180
Start = Callable[[], AbstractContextManager[str]]
"""Runs a server while it is needed, and says where it answers."""


class Way(NamedTuple):
    """How the peer is run."""

    workers: int
    threads: int
    """Of a session of ONNX Runtime."""
    requests: int
    """That a worker works on at once: FastAPI's own limit is 40."""


def ways() -> list[Way]:
    """Return what the peer is tried with."""
    cpus = usable_cpus()
    sizes = sorted({(cpus, 1), (1, cpus), (1, 1), (max(1, cpus // 2), 2)})
    return [Way(*size, requests) for size in sizes for requests in sorted({cpus, 40})]


def ours(folder: Path, kind: str, runtime: str = "auto") -> Start:
    """Return what runs `lakesight serve` with a model."""

    @contextmanager
    def start() -> Iterator[str]:
        port = free_port()
        words = [sys.executable, "-m", "workflows", "serve", "--no-auth", "--port", str(port)]
        words += ["--model", f"{kind}={folder}", "--runtime", runtime]
        words += [f"--set={kind}.{name}={value}" for name, value in OPTIONS[kind].items()]
        url = f"http://127.0.0.1:{port}"
        with running(words, f"{url}/readyz", {}):
            yield f"{url}/v1/{kind}?model={kind}"

    return start


def peer(folder: Path, kind: str, way: Way) -> Start:
    """Return what runs the peer."""

    @contextmanager
    def start() -> Iterator[str]:
        port = free_port()
        app = "benchmarks.fastapi_peer:app"
        words = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
        words += ["--workers", str(way.workers), "--no-access-log", "--log-level", "error"]
        own = {"FOLDER": str(folder), "KIND": kind}
        own |= {"THREADS": str(way.threads), "REQUESTS": str(way.requests)}
        url = f"http://127.0.0.1:{port}"
        with running(words, f"{url}/docs", own):
            yield f"{url}/look"

    return start


@contextmanager
def running(words: Sequence[str], ready: str, own: Mapping[str, str]) -> Iterator[None]:
    """Run a server until it is no longer needed."""
    process = subprocess.Popen(words, env={**os.environ, **own}, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + READY_S
        while not _answers(ready):
            assert process.poll() is None, f"it ended: {words}"
            assert time.monotonic() < end, f"not ready in time: {words}"
            time.sleep(0.2)
        yield
    finally:
        is_there = process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True) if is_there else []
        process.terminate()
        process.wait(60)
        _, left = psutil.wait_procs(children, 30)
        for one in left:
            one.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
