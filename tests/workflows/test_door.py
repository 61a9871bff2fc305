"""`lakesight serve --ingress proxy`: what lies around Ray Serve's own proxy, on real sockets."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from tests.http_server import connected, flooded, rest, said, status

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
STARTS_S = 900


class Serving(NamedTuple):
    address: str
    token: str
    process: psutil.Process

    def proxy(self) -> psutil.Process:
        """Return the process of Ray Serve's proxy."""
        family = self.process.children(recursive=True)
        (found,) = [one for one in family if "ProxyActor" in title(one)]
        return found


def title(process: psutil.Process) -> str:
    """Return how a process calls itself; nothing where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Yield a server behind Ray Serve's proxy, and its first key."""
    keys = tmp_path_factory.mktemp("door") / "keys" / "keys.json"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", "--model", "starter-yolo-detect", "--ingress", "proxy"]
    words += ["--port", str(port), "--keys", str(keys)]
    command = [sys.executable, "-m", "workflows", *words]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        stop = threading.Timer(STARTS_S, process.terminate)
        stop.start()
        try:
            assert process.stderr is not None
            said_so_far = ""
            for line in process.stderr:
                said_so_far += line
                if line.startswith("Serving at"):
                    break
            stop.cancel()
            found = re.search(r"API key, shown this once: (lsk_\S+)", said_so_far)
            assert found, said_so_far
            threading.Thread(target=process.stderr.read, daemon=True).start()
            address = f"http://127.0.0.1:{port}"
            yield Serving(address, found[1], psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(120)
            finally:
                process.kill()


@pytest.mark.timeout(1100)
def test_requests_pass(serving: Serving) -> None:
    key = {"Authorization": f"Bearer {serving.token}", "X-Request-ID": "mine"}
    answer = httpx.get(f"{serving.address}/v1/models", headers=key)
    assert answer.status_code == 200
    assert answer.json()["data"][0]["id"] == "starter-yolo-detect"
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    refused = httpx.get(f"{serving.address}/v1/models")
    assert refused.status_code == 401
    assert refused.json()["type"] == "/problems/unauthenticated"


def test_the_proxy_holds_no_more_of_a_body_than_the_cap(serving: Serving) -> None:
    proxy = serving.proxy()
    before = proxy.memory_info().rss
    seen = [before]
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {serving.token}\r\n"
    answer = flooded(
        serving.address,
        head.encode() + b"Transfer-Encoding: chunked\r\n\r\n",
        b"100000\r\n" + bytes(MIB) + b"\r\n",
        400 * MIB,
        lambda: seen.append(proxy.memory_info().rss),
    )
    assert not answer or status(answer) == 413
    assert max(seen) - before < 200 * MIB  # the cap is 64, once in pieces and once joined


def test_who_sends_slowly_occupies_no_replica(serving: Serving) -> None:
    """More than a replica takes at once: they wait at the door, where others walk past them."""
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {serving.token}\r\n"
    lines = [connected(serving.address) for _ in range(200)]
    for line in lines:
        line.sendall(head.encode() + b"Content-Length: 10\r\n\r\nhell")
    key = {"Authorization": f"Bearer {serving.token}"}
    assert httpx.get(f"{serving.address}/v1/models", headers=key, timeout=30).status_code == 200
    for line in lines:
        line.close()


@pytest.mark.parametrize(
    "header",
    [
        b"X-Request-Timeout-Seconds: \xff",
        b"X-Request-Timeout-Seconds: 0.0001",
        b"X-Request-Disconnect-Disabled: ?1",
        b"serve_multiplexed_model_id: \xff",
        b"x-session-id: \xff",
    ],
)
def test_clients_do_not_steer_the_proxy(serving: Serving, header: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n\r\n"
    assert status(said(serving.address, request, 30)) == 200


def test_headers_have_a_cap(serving: Serving) -> None:
    with connected(serving.address, 30) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000)
        line.sendall(b"x" * 1000 + b"\r\n\r\n")
        assert status(line.recv(1 << 16)) == 431


def test_slow_headers_are_not_waited_for(serving: Serving) -> None:
    with connected(serving.address, 60) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert status(rest(line)) == 408
