import json
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from lakesight.online.bodies import Bodies, BodyLimits, hold
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import connected, flooded, rest, running, said, status, until

LIMITS = BodyLimits(max_bytes=100_000, max_held_bytes=250_000, idle_s=0.5, total_s=1.5)
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Echo:
    """Says how long the body was, and counts how often it was asked."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.num_gone = 0
        self.lengths: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.num_calls += 1
        request = Request(scope, receive)
        body = await request.body()
        self.lengths.append(len(body))
        if scope["path"] == "/fetch":
            hold(100_000)
            hold(100_000)
        if scope["path"] == "/wait":
            assert (await receive())["type"] == "http.disconnect"
            self.num_gone += 1
            return
        answer = {"length": len(body), "sum": sum(body), "pieces": body[:10].decode("latin-1")}
        await JSONResponse(answer)(scope, receive, send)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def bodies(echo: Echo) -> Bodies:
    return Bodies(echo, LIMITS)


@pytest.fixture
def address(bodies: Bodies) -> Iterator[str]:
    with running(Refusing(bodies, RefusalSettings(linger_s=2))) as found:
        yield found
    assert bodies.num_held == 0, "whatever happened, nothing is held afterwards"


def test_a_body_arrives_whole(address: str) -> None:
    body = bytes(range(256)) * 300
    for content in (body, iter([body[:70_000], b"", body[70_000:]])):
        answer = httpx.post(address, content=content)
        assert answer.json()["length"] == len(body)
        assert answer.json()["sum"] == sum(body)
    assert httpx.post(address, content=b"x" * 100_000).json()["length"] == 100_000
    assert httpx.get(address).json()["length"] == 0


def test_a_stated_length_beyond_the_cap_is_refused_unread(address: str, echo: Echo) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with connected(address) as line:
        line.sendall(head % 100_001)
        assert status(line.recv(1 << 16)) == 413, "before a byte of it was sent"
    for length in (100_001, 10**12, 2**63 - 1):
        with connected(address) as line:
            line.sendall(head % length + b"x" * 1000)
            assert status(line.recv(1 << 16)) == 413
    assert echo.num_calls == 0


def test_a_chunked_body_beyond_the_cap_is_refused_while_it_streams(
    address: str, echo: Echo, bodies: Bodies
) -> None:
    held = [0]
    piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    answer = flooded(address, CHUNKED, piece, 1 << 28, lambda: held.append(bodies.num_held))
    assert max(held) <= 100_000 + (1 << 18)
    assert status(answer) == 413
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["type"] == "/problems/too-large"
    assert echo.num_calls == 0


def test_a_client_sees_why_its_upload_was_refused(address: str) -> None:
    answer = httpx.post(address, content=iter([b"x" * 50_000] * 40))
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/too-large"
    assert answer.headers["connection"] == "close"


def test_a_length_that_lies_low_is_no_way_past_the_cap(address: str, echo: Echo) -> None:
    """What follows the stated length is another request to HTTP, and none that is good."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    with connected(address) as line, suppress(ConnectionError):
        line.sendall(head + b"x" * 200_000)
        rest(line)
    assert httpx.post(address, content=b"abc").json()["length"] == 3
    assert set(echo.lengths) <= {5, 3}


def test_a_length_that_lies_high_is_waited_for_and_refused(address: str, echo: Echo) -> None:
    answer = said(address, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nshort")
    assert status(answer) == 408
    assert echo.num_calls == 0


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: abc\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
    ],
)
def test_two_ways_to_read_a_length_are_none(address: str, echo: Echo, headers: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\nhello"
    assert status(said(address, request)) == 400
    assert echo.num_calls == 0


def test_who_pauses_is_too_slow(address: str, echo: Echo) -> None:
    answer = said(address, CHUNKED + b"5\r\nhello\r\n")
    assert status(answer) == 408
    assert b"/problems/slow-request" in answer
    assert echo.num_calls == 0


def test_who_dribbles_is_too_slow(address: str, echo: Echo) -> None:
    with connected(address) as line:
        line.sendall(CHUNKED)
        line.setblocking(False)
        answer = b""
        for _ in range(60):  # a byte each 0.1 s: never a pause of 0.5 s, but more than 1.5 s
            try:
                answer = line.recv(1 << 16)
                break
            except BlockingIOError:
                line.sendall(b"1\r\nx\r\n")
                time.sleep(0.1)
    assert status(answer) == 408
    assert echo.num_calls == 0


def test_who_goes_away_is_forgotten(address: str, echo: Echo, bodies: Bodies) -> None:
    with connected(address) as line:
        line.sendall(CHUNKED + b"5\r\nhello\r\n")
        until(lambda: bodies.num_held == 5)
    until(lambda: bodies.num_held == 0)
    assert echo.num_calls == 0


def test_who_goes_away_while_it_is_worked_for_is_noticed(address: str, echo: Echo) -> None:
    with connected(address) as line:
        line.sendall(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        until(lambda: echo.num_calls == 1)
        assert echo.num_gone == 0
    until(lambda: echo.num_gone == 1)


def test_all_bodies_together_have_a_cap(address: str, bodies: Bodies) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with connected(address) as one, connected(address) as two, connected(address) as three:
        for line in (one, two):
            line.sendall(head + b"x" * 99_000)
        until(lambda: bodies.num_held == 198_000)
        three.sendall(head + b"x" * 99_000)
        answer = three.recv(1 << 16)
        assert status(answer) == 429
        assert b"retry-after: 1" in answer.lower()
        for line in (one, two):
            line.sendall(b"x" * 1000)
            assert status(line.recv(1 << 16)) == 200
    until(lambda: bodies.num_held == 0)


def test_what_is_fetched_counts_beside_the_bodies(address: str, bodies: Bodies) -> None:
    assert httpx.post(f"{address}/fetch", content=b"x").status_code == 200
    until(lambda: bodies.num_held == 0)
    with connected(address) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99000\r\n\r\n" + b"x" * 60_000)
        until(lambda: bodies.num_held == 60_000)
        answer = httpx.post(f"{address}/fetch", content=b"x")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        until(lambda: bodies.num_held == 60_000)  # what was fetched before it is let go
        line.sendall(b"x" * 39_000)
        assert status(line.recv(1 << 16)) == 200


def test_compressed_bodies_are_not_taken(address: str, echo: Echo) -> None:
    answer = httpx.post(address, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert httpx.post(address, headers={"Content-Encoding": "identity"}).status_code == 200
    assert echo.num_calls == 1


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"]
)
def test_deep_json_is_refused_before_anything_parses_it(
    address: str, echo: Echo, kind: str
) -> None:
    answer = httpx.post(address, content=b"[" * 50_000, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/bad-json"
    assert echo.num_calls == 0


def test_other_bodies_are_not_taken_for_json(address: str) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    assert httpx.post(address, content=b"[" * 50_000, headers=headers).status_code == 200


def test_continue_is_said_only_to_who_may_send(address: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with connected(address) as line:
        line.sendall(head % 5)
        assert line.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b"hello")
        assert status(line.recv(1 << 16)) == 200
    with connected(address) as line:
        line.sendall(head % 500_000)
        answer = rest(line)
    assert status(answer) == 413
    assert b"100 Continue" not in answer
