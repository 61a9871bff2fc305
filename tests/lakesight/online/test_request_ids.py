import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from lakesight.online.problems import Problem
from lakesight.online.refusing import RefusalSettings, Refusing
from lakesight.online.request_ids import RequestIds, chosen
from tests.http_server import running


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    if scope["path"] == "/refuse":
        raise Problem("forbidden", "no")
    seen = [scope["state"]["request_id"], *request.headers.getlist("x-request-id")]
    headers = {"X-Request-ID": "of the app's own"} if scope["path"] == "/own" else {}
    await JSONResponse(seen, headers=headers)(scope, receive, send)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(RequestIds(Refusing(echo, RefusalSettings()))) as found:
        yield found


def test_an_id_that_came_is_kept(address: str) -> None:
    answer = httpx.get(address, headers={"X-Request-ID": "job-7.a_B"})
    assert answer.headers.get_list("x-request-id") == ["job-7.a_B"]
    assert answer.json() == ["job-7.a_B", "job-7.a_B"]


def test_without_one_it_is_made(address: str) -> None:
    one, two = (httpx.get(address) for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", one.headers["x-request-id"])
    assert one.headers["x-request-id"] != two.headers["x-request-id"]
    assert one.json() == [one.headers["x-request-id"]] * 2


@pytest.mark.parametrize("odd", ["", "x" * 65, "a b", "a\tb", "ü", "<script>", '{"a": 1}', "a,b"])
def test_an_odd_one_is_replaced(address: str, odd: str) -> None:
    answer = httpx.get(address, headers={b"X-Request-ID": odd.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.json() == [answer.headers["x-request-id"]] * 2


def test_of_several_none_counts() -> None:
    assert chosen(["a", "b"]) not in ("a", "b")
    assert chosen(["a"]) == "a"


def test_there_is_one_on_the_answer(address: str) -> None:
    answer = httpx.get(f"{address}/own", headers={"X-Request-ID": "mine"})
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_a_refusal_names_it(address: str) -> None:
    answer = httpx.get(f"{address}/refuse", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 403
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
