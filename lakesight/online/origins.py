"""Where a request comes from: which host it names, and whether a page of another site sent it."""

import ipaddress
import re
import socket

from pydantic import Field
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from lakesight.online.problems import Problem

SAFE = {"GET", "HEAD", "OPTIONS"}
"""Methods that change nothing (RFC 9110, section 9.2.1)."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


HEALTH = "/-/healthz"
"""Of Ray Serve's proxy, which its HAProxy asks for without a Host header: it tells nothing."""


class HostSettings(Frozen):
    """Which names a server answers to."""

    names: tuple[str, ...] = Field(default=(), examples=[("lakesight.example.org",)])
    """Host names without a port; empty: any. Without keys these are the machine's own."""


class Hosts:
    """Middleware that answers 421 to a request for another host.

    A page whose name an attacker points at this machine (DNS rebinding) still names its own host.
    """

    def __init__(self, app: ASGIApp, settings: HostSettings) -> None:
        self.app = app
        self.names = {name.lower() for name in settings.names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "http" and self.names and scope["path"] != HEALTH:
            name = host_name(Headers(scope=scope))
            if name not in self.names:
                raise Problem("misdirected", "the Host header names none of this server's names")
        await self.app(scope, receive, send)


def host_name(headers: Headers) -> str | None:
    """Return the name in the Host header, in small letters; None where there is not just one."""
    hosts = headers.getlist("host")
    found = AUTHORITY.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return found[1].lower() if found else None


def is_foreign(headers: Headers, method: str, *, needs_proof: bool) -> bool:
    """Return whether a page of another origin sent this, as far as a browser tells.

    Browsers tell by Sec-Fetch-Site (over TLS and to localhost), and by Origin on every request
    that changes something. Where they tell nothing, a request that changes something is foreign
    if it `needs_proof`: a cookie came with it, which a browser adds by itself.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin" and not (site == "none" and method in SAFE)
    origin = headers.get("origin")
    if origin is not None:
        return origin.partition("://")[2] != headers.get("host")
    return needs_proof and method not in SAFE


def check_bind(host: str, *, is_open: bool) -> None:
    """Refuse to listen without keys on anything but this machine's own loopback.

    Raises UserError.
    """
    if is_open and not is_loopback(host):
        raise UserError(
            f"--no-auth listens on this machine only (--host 127.0.0.1), got --host {host}: "
            "anyone who reaches another address could use it; leave --no-auth out to ask for keys"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is, by every address it has, this machine's loopback."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return False
    addresses = {ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found}
    return bool(addresses) and all(address.is_loopback for address in addresses)
