"""An ASGI app behind a real uvicorn on a free port of loopback, and a socket to talk to it."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def running(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Yield the address of the app while it is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = {"log_config": None, "access_log": False, "ws": "none", "lifespan": "off"}
    server = uvicorn.Server(
        uvicorn.Config(app, timeout_graceful_shutdown=5, **{**settings, **options})
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def until(condition: Any, limit_s: float = 10.0) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.005)


def connected(address: str, timeout_s: float = 10.0) -> socket.socket:
    """Return a socket to an address such as `http://127.0.0.1:8000`."""
    parts = urlsplit(address)
    assert parts.hostname
    assert parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)


def said(address: str, request: bytes, timeout_s: float = 10.0) -> bytes:
    """Send bytes, and return all that comes back until the server closes the connection."""
    with connected(address, timeout_s) as line:
        line.sendall(request)
        return rest(line)


def rest(line: socket.socket) -> bytes:
    """Return all that comes on a socket until the other side closes it."""
    pieces = []
    while piece := line.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def status(answer: bytes) -> int:
    """Return the status of an answer as it came over the socket."""
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


def flooded(
    address: str,
    begin: bytes,
    piece: bytes,
    max_bytes: int,
    meanwhile: Callable[[], object] = lambda: None,
) -> bytes:
    """Send a beginning and then a piece over and over, until the server says something.

    Return what it says; nothing where it closes the connection, with bytes of ours unread. Fails
    where it takes more than `max_bytes` without a word.
    """
    with connected(address) as line:
        line.setblocking(False)
        waiting, num_sent = memoryview(begin), 0
        while num_sent < max_bytes:
            readable, writable, _ = select.select([line], [line], [], 60)
            try:
                if readable:
                    return line.recv(1 << 16)
                if writable:
                    count = line.send(waiting[: 1 << 16])
                    num_sent += count
                    waiting = waiting[count:] or memoryview(piece)
            except ConnectionError:
                return b""
            meanwhile()
    raise AssertionError(f"it took {num_sent} bytes")
