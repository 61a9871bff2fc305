"""A Ray cluster of this machine, started and ended as a process of its own."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).with_name("ray"))
PORT_FLAGS = (
    "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port", "ray-client-server-port",
)  # fmt: skip
"""Ports that Ray would take at fixed numbers, where another cluster may be."""


@contextmanager
def head(*, dashboard: bool) -> Iterator[dict[str, str]]:
    """Run a head node that asks for a token; yield the environment of a client that has it."""
    ports = dict(zip(PORT_FLAGS, free_ports(len(PORT_FLAGS)), strict=True))
    client = {
        "RAY_ADDRESS": f"127.0.0.1:{ports['port']}",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard-port']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    environment = os.environ | client
    del environment["RAY_ADDRESS"]
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # as if activated
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        words = [
            RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}",
            f"--include-dashboard={dashboard}",
            *(f"--{flag}={port}" for flag, port in ports.items()),
        ]  # fmt: skip
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_until_open(process, ports["dashboard-port" if dashboard else "port"])
            yield client
        finally:
            below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            for one in psutil.wait_procs([psutil.Process(process.pid), *below], timeout=5)[1]:
                one.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on, each another one."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_open(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head node ended"
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head node did not open its port")
