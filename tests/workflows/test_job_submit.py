"""`ray job submit` to a cluster that asks for a token."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.annotating import MODEL, assert_exactly_once, picture

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
PORT_FLAGS = (
    "port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port",
)  # fmt: skip


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def head() -> Iterator[dict[str, str]]:
    """Start a head node that asks for a token; yield the environment of a client that has it."""
    ports = dict(zip(PORT_FLAGS, free_ports(len(PORT_FLAGS)), strict=True))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # as if activated
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        words = [
            RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}",
            *(f"--{flag}={port}" for flag, port in ports.items()),
        ]  # fmt: skip
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            address = f"http://127.0.0.1:{ports['dashboard-port']}"
            wait_until_open(process, ports["dashboard-port"])
            yield environment | {"RAY_API_SERVER_ADDRESS": address}
        finally:
            below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            for one in psutil.wait_procs([psutil.Process(process.pid), *below], timeout=15)[1]:
                one.kill()
            process.wait()


def wait_until_open(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head node ended"
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head node's dashboard did not open")


def submit(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", "python", "-m", "workflows", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_job_runs_with_the_token_and_not_without(head: dict[str, str], tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "seen"
    photos.mkdir()
    for seed in range(5):
        picture(seed).save(photos / f"{seed}.jpg")
    words = ["annotate", str(photos), str(output), "--detect", MODEL]

    stranger = submit(head | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}, *words)
    assert stranger.returncode != 0
    assert not output.exists()

    done = submit(head, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Wrote 5 rows" in done.stdout
    assert_exactly_once(str(output), 5)
