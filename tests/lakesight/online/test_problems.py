import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Literal

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, field_validator
from starlette.types import Receive, Scope, Send

from lakesight.online import kinds
from lakesight.online.kinds import KINDS, OF_STATUS
from lakesight.online.problems import MEDIA_TYPE, RESPONSES, Problem, install
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import connected, rest, running, said, status
from tests.serving import Running

ROOT = Path(__file__).parents[3]
SECRET = "a secret that a client sent"


class Body(BaseModel):
    size: int = Field(gt=0)
    mode: Literal["a", "b"] = "a"
    word: str = ""

    @field_validator("word")
    @classmethod
    def _short(cls, word: str) -> str:
        if len(word) > 10:
            raise ValueError("at most 10 letters")
        return word


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    install(app)
    app.router.routes.extend(kinds.ROUTES)

    @app.get("/problem")
    async def problem() -> None:
        raise Problem("busy", "wait\na while", headers={"Retry-After": "7"}, members={"queue": 3})

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(SECRET)

    @app.post("/body")
    async def body(body: Body) -> Body:
        return body

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError(SECRET)

        return StreamingResponse(pieces())

    @app.get("/number")
    async def number(n: Annotated[int, Query(le=5)]) -> int:
        return n

    return app


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(Refusing(make_app(), RefusalSettings(linger_s=1))) as found:
        yield found


def problem(answer: httpx.Response) -> dict[str, object]:
    """Return the members of a problem, once its form is right (RFC 9457, section 3.1)."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    found: dict[str, object] = answer.json()
    assert found["status"] == answer.status_code
    name = str(found["type"]).removeprefix("/problems/")
    assert found["title"] == KINDS[name].title
    assert answer.status_code == KINDS[name].status
    return found


def test_a_problem_is_answered(address: str) -> None:
    answer = httpx.get(f"{address}/problem")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    found = problem(answer)
    assert found["type"] == "/problems/busy"
    assert found["detail"] == "wait a while"
    assert found["queue"] == 3


def test_a_mistake_of_ours_tells_nothing(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = httpx.get(f"{address}/broken")
    assert answer.status_code == 500
    assert problem(answer)["type"] == "/problems/internal"
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert __file__ not in answer.text
    assert "RuntimeError at " in caplog.text, "the log says where"
    assert "test_problems.py" in caplog.text
    assert SECRET not in caplog.text
    assert "Exception in ASGI application" not in caplog.text


def test_a_half_sent_answer_is_cut_off(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{address}/half")
    assert "RuntimeError at " in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [("/nothing", "GET", 404), ("/body", "GET", 405), ("/problems/none", "GET", 404)],
)
def test_starlettes_own_errors_are_problems(
    address: str, path: str, method: str, code: int
) -> None:
    answer = httpx.request(method, address + path)
    assert answer.status_code == code
    problem(answer)
    assert ("allow" in answer.headers) == (code == 405)


@pytest.mark.parametrize(
    ("body", "at", "message"),
    [
        ({"size": SECRET}, "body.size", "Input should be a valid integer"),
        ({"size": -1}, "body.size", "Input should be greater than 0"),
        ({"size": 1, "mode": SECRET}, "body.mode", "Input should be 'a' or 'b'"),
        ({"size": 1, "word": SECRET}, "body.word", "Value error, at most 10 letters"),
        ({}, "body.size", "Field required"),
    ],
)
def test_what_does_not_fit_is_placed_and_not_repeated(
    address: str, body: dict[str, object], at: str, message: str
) -> None:
    answer = httpx.post(f"{address}/body", json=body)
    assert answer.status_code == 422
    found = problem(answer)
    errors = found["errors"]
    assert isinstance(errors, list)
    assert errors[0]["at"] == at
    assert errors[0]["message"].startswith(message)
    assert SECRET not in answer.text


def test_a_query_that_does_not_fit(address: str) -> None:
    found = problem(httpx.get(f"{address}/number", params={"n": "9"}))
    assert found["detail"] == "query.n: Input should be less than or equal to 5"


def test_what_is_no_json(address: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{address}/body", content=b'{"size": 1', headers=headers)
    assert answer.status_code == 400
    assert problem(answer)["type"] == "/problems/bad-json"


def test_a_detail_is_cut_and_is_ascii(address: str) -> None:
    app = FastAPI()
    install(app)

    @app.get("/long")
    async def long() -> None:
        raise Problem("invalid", "\ud800ü\x00" * 1000)

    with running(app) as other:
        answer = httpx.get(f"{other}/long")
    assert answer.status_code == 422
    assert answer.content.isascii()
    assert len(answer.json()["detail"]) == 500


def test_error_answers_of_others_become_problems() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/plain"), (b"retry-after", b"3"), (b"x-inner", b"1")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": SECRET.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": SECRET.encode()})

    with running(Refusing(other, RefusalSettings())) as address:
        answer = httpx.get(address)
    assert answer.status_code == 503
    assert problem(answer)["type"] == "/problems/unavailable"
    assert answer.headers["retry-after"] == "3"
    assert "x-inner" not in answer.headers
    assert SECRET not in answer.text


def test_an_unknown_status_is_about_blank() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with running(Refusing(other, RefusalSettings())) as address:
        answer = httpx.get(address)
    assert answer.json()["type"] == "about:blank"
    assert answer.json()["status"] == answer.status_code == 418


def test_who_is_refused_while_sending_sees_why() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        raise Problem("forbidden", "no")

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
    app = Refusing(refuse, RefusalSettings(linger_s=5))
    with running(app) as address, connected(address) as line:
        line.sendall(head + b"x" * 1_000_000)
        first = line.recv(1 << 16)
        assert status(first) == 403
        line.sendall(b"x" * 2_000_000)  # would fail, had the connection been reset
        answer = first + rest(line)
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["detail"] == "no"


def test_who_goes_on_sending_is_cut_off() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        raise Problem("forbidden", "no")

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with running(Refusing(refuse, RefusalSettings(linger_s=0.2))) as address:
        assert status(said(address, head)) == 403  # and the server closes the connection itself


def test_a_web_socket_is_refused() -> None:
    app = Refusing(make_app(), RefusalSettings())
    with running(app, ws="websockets-sansio") as address:
        request = (
            b"GET /problem HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert status(said(address, request)) == 403


def test_every_kind_is_explained(address: str) -> None:
    for name, kind in KINDS.items():
        answer = httpx.get(f"{address}/problems/{name}")
        assert answer.status_code == 200
        assert answer.text == f"{kind.title} ({kind.status})\n\n{kind.advice}\n"
    assert {KINDS[name].status for name in OF_STATUS.values()} == set(OF_STATUS)


def test_every_kind_has_its_line_in_the_docs() -> None:
    page = (ROOT / "docs" / "problems.md").read_text()
    lines = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    assert lines == [
        (name, str(kind.status), kind.title, kind.advice) for name, kind in KINDS.items()
    ]


def test_paths_that_are_advised_are_served(served: Running) -> None:
    advice = " ".join(kind.advice for kind in KINDS.values())
    paths = set(re.findall(r"`(/[^`]*)`", advice))
    assert paths >= {"/v1/models"}
    answers = {path: served.client.get(path).status_code for path in paths}
    assert 404 not in answers.values(), answers


def test_openapi_says_what_a_problem_is() -> None:
    app = FastAPI()
    install(app)

    @app.post("/x", responses=RESPONSES)
    async def x(body: Body) -> Body:
        return body

    responses = app.openapi()["paths"]["/x"]["post"]["responses"]
    assert set(responses) == {"200", "4XX", "5XX"}
    schema = responses["4XX"]["content"][MEDIA_TYPE]["schema"]
    assert set(schema["required"]) == {"type", "title", "status"}
