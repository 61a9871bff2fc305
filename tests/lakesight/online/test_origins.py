import httpx
import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from lakesight.errors import UserError
from lakesight.online.origins import (
    LOCAL_NAMES,
    Hosts,
    HostSettings,
    check_bind,
    host_name,
    is_foreign,
)
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import running, said, status

HERE = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize(
    ("headers", "method", "foreign"),
    [
        ({"sec-fetch-site": "same-origin"}, "POST", False),
        ({"sec-fetch-site": "same-origin"}, "GET", False),
        ({"sec-fetch-site": "none"}, "GET", False),
        ({"sec-fetch-site": "none"}, "POST", True),
        ({"sec-fetch-site": "same-site"}, "GET", True),
        ({"sec-fetch-site": "cross-site"}, "GET", True),
        ({"sec-fetch-site": "cross-site"}, "POST", True),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"}, "POST", True),
        ({"origin": "http://127.0.0.1:8000"}, "POST", False),
        ({"origin": "https://127.0.0.1:8000"}, "POST", False),  # TLS may end in front of us
        ({"origin": "http://127.0.0.1:9000"}, "POST", True),
        ({"origin": "http://127.0.0.1"}, "POST", True),
        ({"origin": "https://evil.example"}, "POST", True),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, "POST", True),
        ({"origin": "null"}, "POST", True),
        ({"origin": ""}, "POST", True),
    ],
)
def test_what_a_browser_says(headers: dict[str, str], method: str, foreign: bool) -> None:
    for needs_proof in (True, False):
        assert is_foreign(Headers(HERE | headers), method, needs_proof=needs_proof) is foreign


def test_where_a_browser_says_nothing() -> None:
    assert is_foreign(Headers(HERE), "POST", needs_proof=True)
    assert not is_foreign(Headers(HERE), "POST", needs_proof=False), "curl sends neither"
    assert not is_foreign(Headers(HERE), "GET", needs_proof=True)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:80", "localhost"),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[::1]:8000", "[::1]"),
        ("localhost.evil.example", "localhost.evil.example"),
        ("localhost@evil.example", None),
        ("evil.example/localhost", None),
        ("localhost:", None),
        ("localhost:80:80", None),
        ("", None),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str | None) -> None:
    assert host_name(Headers({"host": host})) == name


def test_a_foreign_host_is_misdirected() -> None:
    app = Hosts(PlainTextResponse("hello"), HostSettings(names=LOCAL_NAMES))
    with running(Refusing(app, RefusalSettings())) as address:
        for host in ("localhost", "LocalHost:1234", "127.0.0.1", "[::1]"):
            assert httpx.get(address, headers={"Host": host}).text == "hello"
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0"):
            answer = httpx.get(address, headers={"Host": host})
            assert answer.status_code == 421
            assert answer.json()["type"] == "/problems/misdirected"
            assert "evil" not in answer.text
        assert status(said(address, b"GET / HTTP/1.0\r\n\r\n")) == 421
        twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n"
        assert status(said(address, twice)) in (400, 421)


def test_without_names_every_host_is_right() -> None:
    with running(Hosts(PlainTextResponse("hello"), HostSettings())) as address:
        assert httpx.get(address, headers={"Host": "any.example"}).text == "hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_may_be_open(host: str) -> None:
    check_bind(host, is_open=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.0.2.1", "::ffff:127.0.0.1", ""])
def test_other_addresses_may_not_be_open(host: str) -> None:
    with pytest.raises(UserError, match="--no-auth listens on this machine only"):
        check_bind(host, is_open=True)
    check_bind(host, is_open=False)
