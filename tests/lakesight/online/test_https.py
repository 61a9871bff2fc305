"""A real TLS server on loopback, which its settings allow by name and by network."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from lakesight.online.addresses import Address
from lakesight.online.https import FetchError, HttpsSettings, RefusedError, allowed, fetch
from tests.certificates import make_certificate
from tests.http_server import running

LOOPBACK = ("127.0.0.0/8", "::1/128")


class Place:
    """A server of pictures: where it is, and what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[tuple[str, str]] = []
        self.names: list[str | None] = []

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}{path}"


PLACE = Place()


async def picture(request: Request) -> Response:
    PLACE.asked.append((request.url.path, request.headers["host"]))
    return Response(b"picture", headers={"Content-Type": "image/png"})


async def redirect(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"])


async def missing(request: Request) -> Response:
    return PlainTextResponse("no", status_code=404)


async def large(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    if "stated" in request.query_params:
        return Response(b"x" * 100_000)
    return StreamingResponse(pieces())


async def drip(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.1)

    return StreamingResponse(pieces())


async def zipped(request: Request) -> Response:
    return Response(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


APP = Starlette(
    routes=[
        Route("/picture", picture),
        Route("/redirect", redirect),
        Route("/missing", missing),
        Route("/large", large),
        Route("/drip", drip),
        Route("/zipped", zipped),
    ]
)


def with_names(config: Any, default: Any) -> ssl.SSLContext:
    """Return uvicorn's own context, which notes each name that SNI gives."""
    context: ssl.SSLContext = default()
    context.sni_callback = lambda _socket, name, _context: PLACE.names.append(name)
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def settings(folder: Path) -> Iterator[HttpsSettings]:
    pem = make_certificate(folder, "localhost")
    files = {"ssl_certfile": str(pem.certificate), "ssl_keyfile": str(pem.key)}
    with running(APP, ssl_context_factory=with_names, **files) as address:
        port = urlsplit(address).port
        assert port
        PLACE.port = port
        yield HttpsSettings(
            hosts=("localhost", "*.example.org"),
            ports=(port,),
            networks=LOOPBACK,
            ca_file=pem.certificate,
            max_bytes=50_000,
            max_seconds=5,
        )


def got(url: str, settings: HttpsSettings, **changes: Any) -> bytes:
    resolve = changes.pop("resolve", None)
    return asyncio.run(fetch(url, settings.model_copy(update=changes), resolve))


def test_a_picture_is_fetched(settings: HttpsSettings) -> None:
    PLACE.asked.clear()
    PLACE.names.clear()
    assert got(PLACE.url("/picture?size=1"), settings) == b"picture"
    assert PLACE.asked == [("/picture", f"localhost:{PLACE.port}")]
    assert PLACE.names == ["localhost"], "SNI"


def test_an_address_that_is_not_public_is_refused(settings: HttpsSettings) -> None:
    PLACE.names.clear()
    with pytest.raises(RefusedError, match="not public"):
        got(PLACE.url("/picture"), settings, networks=())
    assert PLACE.names == [], "nothing was sent there"


class Resolver:
    """Gives other addresses each time it is asked, as a name does that is to be rebound."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.num_asked = 0

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.num_asked += 1
        if not self.answers:
            raise socket.gaierror("there is no such name")
        return [ipaddress.ip_address(text) for text in self.answers.pop(0)]


def test_a_name_is_resolved_once_and_that_address_is_used(settings: HttpsSettings) -> None:
    """The server listens at 127.0.0.1 alone: a second look would find nobody."""
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    assert got(PLACE.url("/picture"), settings, resolve=resolver) == b"picture"
    assert resolver.num_asked == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:8.8.8.8"],
        ["fd00:ec2::254"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", "192.168.0.1"],
        ["127.0.0.1", "10.0.0.1"],
    ],
)
def test_one_address_that_is_not_public_is_enough(
    settings: HttpsSettings, addresses: list[str]
) -> None:
    with pytest.raises(RefusedError, match="not public"):
        got(PLACE.url("/picture"), settings, resolve=Resolver(addresses))


def test_the_next_address_is_tried(settings: HttpsSettings) -> None:
    """Nothing listens at 127.0.0.9."""
    resolver = Resolver(["127.0.0.9", "127.0.0.1"])
    assert got(PLACE.url("/picture"), settings, resolve=resolver) == b"picture"


def test_a_name_without_addresses(settings: HttpsSettings) -> None:
    with pytest.raises(FetchError, match="no address"):
        got(PLACE.url("/picture"), settings, resolve=Resolver([]))
    with pytest.raises(FetchError, match="gaierror"):
        got(PLACE.url("/picture"), settings, resolve=Resolver())
    with pytest.raises(FetchError, match="Unicode"):
        got(f"https://{'a' * 64}.example.org:{PLACE.port}/", settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/picture",
        "ftp://localhost/picture",
        "file:///etc/passwd",
        "//localhost/picture",
        "localhost/picture",
        "https:///picture",
        "https://localhost:1/picture",
        "https://localhost:99999/picture",
        "https://127.0.0.1/picture",
        "https://[::1]/picture",
        "https://2130706433/picture",
        "https://evil.example/picture",
        "https://localhost.evil.example/picture",
        "https://localhost./picture",
        "https://user@localhost/picture",
        "https://user:secret@localhost/picture",
        "https://localhost@evil.example/picture",
        "https://evil.example\\@localhost/picture",
        "https://localhost\\.evil.example/picture",
        "https://example.org/picture",
        "https://evilexample.org/picture",
        "https://\u0142ocalhost/picture",
        "https://local\nhost.evil/picture",
        "https://localhost/pic ture",
        "https://localhost/pic\r\nX-Header: 1",
        "https://[bad/picture",
        "",
    ],
)
def test_what_is_no_allowed_url(settings: HttpsSettings, url: str) -> None:
    open_ports = settings.model_copy(update={"ports": (443, PLACE.port)})
    with pytest.raises(RefusedError) as caught:
        allowed(url, open_ports)
    assert "secret" not in str(caught.value)


def test_what_is_allowed(settings: HttpsSettings) -> None:
    open_ports = settings.model_copy(update={"ports": (443,)})
    assert allowed("https://LocalHost/a%20b?c=d#e", open_ports) == ("localhost", 443, "/a%20b?c=d")
    assert allowed("https://a.b.example.org", open_ports) == ("a.b.example.org", 443, "/")


def test_nothing_is_allowed_unless_switched_on() -> None:
    with pytest.raises(RefusedError, match="none of those that are allowed"):
        allowed("https://localhost/picture", HttpsSettings())


def test_redirects_are_followed(settings: HttpsSettings) -> None:
    assert got(PLACE.url("/redirect?to=/picture"), settings) == b"picture"


@pytest.mark.parametrize(
    "to",
    [
        "http://localhost/picture",
        "https://127.0.0.1/picture",
        "https://evil.example/picture",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "//evil.example/",
        "https://localhost:1/",
    ],
)
def test_a_redirect_is_checked_as_the_first_url(settings: HttpsSettings, to: str) -> None:
    with pytest.raises(RefusedError):
        got(PLACE.url(f"/redirect?to={to}"), settings)


def test_a_redirect_to_what_is_no_url_is_said(settings: HttpsSettings) -> None:
    with pytest.raises(FetchError, match="no URL"):
        got(PLACE.url("/redirect?to=https://["), settings)


def test_a_redirect_is_resolved_anew_and_checked(settings: HttpsSettings) -> None:
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    with pytest.raises(RefusedError, match="not public"):
        got(PLACE.url("/redirect?to=/picture"), settings, resolve=resolver)
    assert resolver.num_asked == 2


def test_redirects_end(settings: HttpsSettings) -> None:
    loop = PLACE.url("/redirect?to=" + "/redirect?to=%252Fpicture")
    PLACE.names.clear()
    with pytest.raises(FetchError, match="more than 1 redirects"):
        got(loop, settings, max_redirects=1)
    assert len(PLACE.names) == 2


@pytest.mark.parametrize("path", ["/large", "/large?stated"])
def test_bytes_have_a_cap(settings: HttpsSettings, path: str) -> None:
    with pytest.raises(FetchError, match="more than 50000 bytes"):
        got(PLACE.url(path), settings)
    assert len(got(PLACE.url(path), settings, max_bytes=100_000)) == 100_000


def test_time_has_a_cap(settings: HttpsSettings) -> None:
    with pytest.raises(FetchError, match=r"within 0\.5 s"):
        got(PLACE.url("/drip"), settings, max_seconds=0.5)


@pytest.mark.parametrize(("path", "message"), [("/missing", "404"), ("/zipped", "compressed")])
def test_what_is_no_picture(settings: HttpsSettings, path: str, message: str) -> None:
    with pytest.raises(FetchError, match=message):
        got(PLACE.url(path), settings)


def test_a_certificate_has_to_be_trusted(settings: HttpsSettings, folder: Path) -> None:
    other = make_certificate(folder, "other.example")
    with pytest.raises(FetchError, match="certificate is not good: self-signed"):
        got(PLACE.url("/picture"), settings, ca_file=other.certificate)
    with pytest.raises(FetchError, match="certificate is not good"):
        got(PLACE.url("/picture"), settings, ca_file=None)


@pytest.mark.parametrize(("host", "days"), [("other.example", 1), ("localhost", -1)])
def test_a_certificate_has_to_be_for_the_host_and_of_today(
    settings: HttpsSettings, tmp_path: Path, host: str, days: int
) -> None:
    pem = make_certificate(tmp_path, host, days=days)
    files = {"ssl_certfile": str(pem.certificate), "ssl_keyfile": str(pem.key)}
    with running(APP, **files) as address:
        port = urlsplit(address).port
        url = f"https://localhost:{port}/picture"
        with pytest.raises(FetchError, match=r"not good: (Hostname|certificate has)"):
            got(url, settings, ca_file=pem.certificate, ports=(port,))


def test_a_server_that_speaks_no_tls(settings: HttpsSettings) -> None:
    with running(APP) as address:
        port = urlsplit(address).port
        with pytest.raises(FetchError, match="did not answer as it should"):
            got(f"https://localhost:{port}/picture", settings, ports=(port,))


def test_names_of_hosts_are_checked() -> None:
    with pytest.raises(ValueError, match="no host name"):
        HttpsSettings(hosts=("https://localhost",))
    with pytest.raises(ValueError, match="no host name"):
        HttpsSettings(hosts=("*",))
