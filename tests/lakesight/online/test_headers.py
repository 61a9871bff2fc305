import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from lakesight.online.headers import AnswerHeaders, HeaderSettings, RequestHeaders
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import running, said, status


async def page(request: Request) -> Response:
    return HTMLResponse("<p>hello")


async def cached(request: Request) -> Response:
    headers = {"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'self'"}
    return Response("x", headers=headers)


async def headers(request: Request) -> Response:
    return JSONResponse(sorted(request.headers))


APP = Starlette(routes=[Route("/page", page), Route("/cached", cached), Route("/headers", headers)])


def served(settings: HeaderSettings) -> AnswerHeaders:
    inner = Refusing(RequestHeaders(APP, settings), RefusalSettings())
    return AnswerHeaders(inner, settings)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(served(HeaderSettings())) as found:
        yield found


@pytest.mark.parametrize("path", ["/page", "/headers", "/nothing"])
def test_every_answer_has_them(address: str, path: str) -> None:
    found = httpx.get(address + path).headers
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert found["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in found["content-security-policy"]
    assert "strict-transport-security" not in found
    assert len(found.get_list("content-security-policy")) == 1


def test_the_page_runs_its_own_files_alone(address: str) -> None:
    policy = httpx.get(f"{address}/page").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert not re.search(r"https?:|\*", policy), "no outside host"


def test_an_answer_is_no_page(address: str) -> None:
    policy = httpx.get(f"{address}/headers").headers["content-security-policy"]
    assert "script-src" not in policy
    assert "default-src 'none'" in policy


def test_the_apps_own_stay(address: str) -> None:
    found = httpx.get(f"{address}/cached").headers
    assert found["cache-control"] == "max-age=60"
    assert found["content-security-policy"] == "default-src 'self'"


def test_under_tls_browsers_come_back_by_tls() -> None:
    with running(served(HeaderSettings(hsts_s=3600))) as address:
        found = httpx.get(f"{address}/page").headers
    assert found["strict-transport-security"] == "max-age=3600"


@pytest.mark.parametrize(
    "many",
    [{f"x-{number}": "1" for number in range(101)}, {"x": "1" * 33_000}],
    ids=["too many", "too large"],
)
def test_headers_have_a_cap(address: str, many: dict[str, str]) -> None:
    answer = httpx.get(f"{address}/page", headers=many)
    assert answer.status_code == 431
    assert answer.json()["type"] == "/problems/headers-too-large"


def test_an_address_has_a_cap(address: str) -> None:
    assert httpx.get(f"{address}/page", params={"q": "x" * 9000}).status_code == 414
    assert httpx.get(address + "/" + "x" * 9000).status_code == 414
    assert httpx.get(f"{address}/page", params={"q": "x" * 7000}).status_code == 200


@pytest.mark.parametrize("twice", [b"Content-Type: a/b", b"Authorization: x", b"Host: y"])
def test_what_is_said_once_is_not_said_twice(address: str, twice: bytes) -> None:
    lines = [b"GET /page HTTP/1.1", b"Host: x", b"Connection: close", twice, twice, b"", b""]
    assert status(said(address, b"\r\n".join(lines))) == 400


def test_clients_do_not_steer_ray_serve(address: str) -> None:
    steering = {
        "X-Request-Timeout-Seconds": "0",
        "x-request-disconnect-disabled": "?1",
        "serve_multiplexed_model_id": "x",
        "Serve-Multiplexed-Model-Id": "x",
        "x_session_id": "x",
    }
    answer = httpx.get(f"{address}/headers", headers=steering | {"x-mine": "1"})
    assert "x-mine" in answer.json()
    assert not {name.lower() for name in steering} & set(answer.json())


def test_the_names_are_those_of_ray_serve() -> None:
    """They are constants of an installed package: read there, as importing it starts much."""
    import importlib.util

    from lakesight.online.headers import STEERING

    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin
    source = (Path(found.origin).parent / "serve" / "_private" / "constants.py").read_text()
    for name in STEERING:
        spellings = {name.decode(), name.decode().replace("-", "_")}
        assert any(f'"{spelling}"' in source for spelling in spellings), name
