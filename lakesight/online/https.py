"""Fetching a picture by https for somebody outside: only from named hosts, only once resolved.

The name is resolved once, every address of it is checked, and the connection goes to one of those
addresses, with the name in SNI and checked against the certificate. So a name that points
elsewhere the next time (DNS rebinding) gains nothing. A redirect is a new URL, checked as such.
"""

import asyncio
import functools
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import h11
from pydantic import Field, IPvAnyNetwork, field_validator

from lakesight.models.base import Frozen
from lakesight.online.addresses import Address, refused

HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
READ_BYTES = 1 << 16
Resolve = Callable[[str, int], Awaitable[list[Address]]]
"""From a host and a port to its addresses."""


class HttpsSettings(Frozen):
    """From where, and how much."""

    hosts: tuple[str, ...] = ()
    """Host names, exactly; `*.example.org` for every name below one. Empty: nothing is fetched."""
    ports: tuple[int, ...] = (443,)
    networks: tuple[IPvAnyNetwork, ...] = ()
    """Addresses to allow although they are not public: a picture server of your own."""
    ca_file: Path | None = None
    """Certificates to trust, as PEM; the system's unless given."""
    max_bytes: int = Field(default=64 << 20, gt=0)
    max_seconds: float = Field(default=10.0, gt=0)
    """For the whole fetch, name resolution and redirects included."""
    max_redirects: int = Field(default=3, ge=0)

    @field_validator("hosts")
    @classmethod
    def _each_is_a_name(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not HOST.fullmatch(host.removeprefix("*.")):
                raise ValueError(f"{host!r} is no host name in small letters")
        return hosts


class RefusedError(ValueError):
    """The address is not allowed: nothing was sent to it."""


class FetchError(Exception):
    """The other server did not give a picture."""


class Target(NamedTuple):
    """Where an allowed URL leads."""

    host: str
    port: int
    path: str


class Answer(NamedTuple):
    """What a server said: a body, or where to go instead."""

    body: bytes
    location: str | None


async def fetch(url: str, settings: HttpsSettings, resolve: Resolve | None = None) -> bytes:
    """Return what a URL gives.

    Raises RefusedError for an address that is not allowed, FetchError for everything else.
    """
    try:
        async with asyncio.timeout(settings.max_seconds):
            return await _follow(url, settings, resolve or resolved)
    except TimeoutError:
        raise FetchError(f"no whole answer within {settings.max_seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise FetchError(f"the certificate is not good: {error.verify_message}") from None
    except (OSError, UnicodeError, h11.RemoteProtocolError) as error:
        raise FetchError(
            f"the server did not answer as it should: {type(error).__name__}"
        ) from None


async def _follow(url: str, settings: HttpsSettings, resolve: Resolve) -> bytes:
    for _ in range(settings.max_redirects + 1):
        target = allowed(url, settings)
        addresses = await _checked(target, settings, resolve)
        answer = await _get(target, addresses, settings)
        if answer.location is None:
            return answer.body
        try:
            url = urljoin(url, answer.location)
        except ValueError:
            raise FetchError("the server leads to what is no URL") from None
    raise FetchError(f"more than {settings.max_redirects} redirects")


def allowed(url: str, settings: HttpsSettings) -> Target:
    """Return where a URL leads. Raises RefusedError unless that is allowed by its name alone."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise RefusedError("this is no URL") from None
    if parts.scheme != "https":
        raise RefusedError("only https:// URLs are fetched")
    if parts.username is not None or parts.password is not None:
        raise RefusedError("a URL must not hold a user or a password")
    host = parts.hostname or ""
    if not HOST.fullmatch(host) or not any(_matches(host, known) for known in settings.hosts):
        raise RefusedError("the host is none of those that are allowed")
    if port not in settings.ports:
        raise RefusedError("the port is none of those that are allowed")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not re.fullmatch(r"[!-~]+", path):
        raise RefusedError("a URL has only printable ASCII: percent-encode the rest")
    return Target(host, port, path)


def _matches(host: str, known: str) -> bool:
    return host.endswith(known[1:]) if known.startswith("*.") else host == known


async def resolved(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, as the system resolves it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


async def _checked(target: Target, settings: HttpsSettings, resolve: Resolve) -> list[Address]:
    """One address that is not public is enough to refuse: whose answer it was cannot be told."""
    addresses = await resolve(target.host, target.port)
    if not addresses:
        raise FetchError("the host has no address")
    if refused(addresses, settings.networks):
        raise RefusedError("the host has an address that is not public")
    return addresses


async def _get(target: Target, addresses: list[Address], settings: HttpsSettings) -> Answer:
    reader, writer = await _connect(target, addresses, _context(settings.ca_file))
    try:
        return await _exchange(target, reader, writer, settings.max_bytes)
    finally:
        writer.transport.abort()


async def _connect(
    target: Target, addresses: list[Address], context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that takes it; all of them were checked."""
    failure: OSError | None = None
    for address in addresses:
        try:
            return await asyncio.open_connection(
                str(address), target.port, ssl=context, server_hostname=target.host
            )
        except ssl.SSLError:
            raise
        except OSError as error:
            failure = error
    assert failure is not None
    raise failure


@functools.lru_cache(maxsize=4)
def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


async def _exchange(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_bytes: int
) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    writer.write(connection.send(_request(target)) + connection.send(h11.EndOfMessage()))
    await writer.drain()
    location: str | None = None
    pieces: list[bytes] = []
    num_bytes = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            location = _location(event)
            if location is not None:
                return Answer(b"", location)
            _check_size(event, max_bytes)
        elif isinstance(event, h11.Data):
            num_bytes += len(event.data)
            if num_bytes > max_bytes:
                raise _too_large(max_bytes)
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return Answer(b"".join(pieces), None)
        elif isinstance(event, h11.ConnectionClosed):
            raise FetchError("the server closed the connection")


def _request(target: Target) -> h11.Request:
    host = target.host if target.port == 443 else f"{target.host}:{target.port}"
    headers = {
        "Host": host,
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "lakesight",
    }
    return h11.Request(method="GET", target=target.path, headers=list(headers.items()))


def _location(response: h11.Response) -> str | None:
    """Return where a redirect leads, or None for a body. Raises FetchError for all else."""
    headers = dict(response.headers)
    if response.status_code in (301, 302, 303, 307, 308) and b"location" in headers:
        return headers[b"location"].decode("latin-1")
    if response.status_code != 200:
        raise FetchError(f"the server answered {response.status_code}")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise FetchError("the server sent a compressed body, which was not asked for")
    return None


def _check_size(response: h11.Response, max_bytes: int) -> None:
    stated = dict(response.headers).get(b"content-length", b"0")
    if int(stated) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> FetchError:
    return FetchError(f"the body has more than {max_bytes} bytes")
