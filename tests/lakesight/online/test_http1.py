import json
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from lakesight.online.http1 import BoundedHttp
from tests.http_server import connected, flooded, rest, running, said, status, until


class Impatient(BoundedHttp):
    """As the real one, but tests need not wait for it so long."""

    head_s = 0.5


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    answer = f"{scope['path']} {len(body)} {len(scope['headers'])}"
    await PlainTextResponse(answer)(scope, receive, send)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(echo, http=Impatient) as found:
        yield found


def test_requests_are_answered_as_ever(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        for _ in range(3):
            assert client.post("/a", content=b"x" * 500_000).text.startswith("/a 500000 ")
            assert client.post("/b", content=iter([b"x"] * 3000)).text.startswith("/b 3000 ")
            assert client.get("/c", headers={"x": "1" * 30_000}).text.startswith("/c 0 ")


def test_pipelined_requests_are_answered(address: str) -> None:
    post = b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = said(address, b"".join(post % number for number in range(5)) + last)
    assert [f"/{number} 100000 2".encode() in answer for number in range(5)] == [True] * 5
    assert b"/last 0 2" in answer


@pytest.mark.parametrize("what", ["value", "name", "many", "path", "trailer", "extension"])
def test_what_is_no_body_has_a_cap(address: str, what: str) -> None:
    """Each would go on for 64 MB: what was sent by then is what the sockets hold."""
    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    begin, piece = {
        "value": (b"GET / HTTP/1.1\r\nX: ", b"x" * 64_000),
        "name": (b"GET / HTTP/1.1\r\n", b"x" * 64_000),
        "many": (b"GET / HTTP/1.1\r\n", b"X: 1\r\n" * 10_000),
        "path": (b"GET /", b"x" * 64_000),
        "trailer": (post + b"1\r\nx\r\n0\r\n", b"X: 1\r\n" * 10_000),
        "extension": (post + b"1;", b"x" * 64_000),
    }[what]
    answer = flooded(address, begin, piece, 1 << 26)
    assert not answer or status(answer) in (400, 431)
    assert httpx.get(address).status_code == 200


def test_a_refusal_is_a_problem(address: str) -> None:
    with connected(address) as line:
        line.sendall(b"GET / HTTP/1.1\r\nX: ")
        time.sleep(0.05)
        line.sendall(b"x" * 66_000)
        answer = rest(line)
    assert status(answer) == 431
    problem = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert (problem["type"], problem["status"]) == ("/problems/headers-too-large", 431)


def test_slow_headers_are_not_waited_for(address: str) -> None:
    with connected(address) as line:
        line.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        line.settimeout(0.1)
        for _ in range(40):  # one each 0.1 s: it never pauses
            try:
                answer = line.recv(1 << 16)
                break
            except TimeoutError:
                line.sendall(b"X: 1\r\n")
    assert status(answer) == 408
    assert b"/problems/slow-request" in answer


def test_who_says_nothing_is_left(address: str) -> None:
    with connected(address) as line:
        assert rest(line) == b""


def test_slow_headers_of_a_second_request_are_not_waited_for(address: str) -> None:
    with connected(address) as line:
        line.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"/a 0 1" in line.recv(1 << 16)
        line.sendall(b"GET /b HTTP/1.1\r\n")
        assert status(rest(line)) == 408


def test_a_body_may_take_longer_than_the_headers(address: str) -> None:
    with connected(address) as line:
        line.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        for letter in b"hello":
            time.sleep(0.2)
            line.sendall(bytes([letter]))
        assert b"/a 5 2" in line.recv(1 << 16)


def test_many_who_are_slow_keep_nobody_out(address: str) -> None:
    lines = [connected(address) for _ in range(200)]
    for line in lines:
        line.sendall(b"GET / HTTP/1.1\r\nX")
    assert httpx.get(address).status_code == 200
    for line in lines:
        assert status(rest(line)) == 408
        line.close()
    until(lambda: httpx.get(address).status_code == 200)
