import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from lakesight.online import key_file
from lakesight.online.access import AccessSettings
from lakesight.online.guard import SafetySettings, guarded
from lakesight.online.keys import Made, make, session_of
from lakesight.online.logs import RedactKeys
from lakesight.online.notes import note
from lakesight.online.problems import install
from tests.http_server import connected, running, until

QUERY = "what nobody may read"


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    install(app)

    @app.post("/v1/items/{item}")
    async def items(request: Request, item: str) -> str:
        note(request.scope, model="yolo", pictures=3)
        return "seen"

    @app.post("/v1/broken")
    async def broken(request: Request) -> str:
        raise RuntimeError((await request.body()).decode())

    @app.post("/v1/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"abc"
            raise RuntimeError(QUERY)

        return StreamingResponse(pieces())

    return app


@pytest.fixture
def made() -> Made:
    return make("phone")


@pytest.fixture
def address(tmp_path: Path, made: Made) -> Iterator[str]:
    path = tmp_path / "keys" / "keys.json"
    key_file.add(path, made.key)
    settings = SafetySettings(access=AccessSettings(keys=path))
    with running(guarded(make_app(), settings)) as found:
        yield found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def lines(log: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(r.getMessage()) for r in log.records if r.name == "lakesight.access"]


def test_a_request_is_one_line(address: str, made: Made, log: pytest.LogCaptureFixture) -> None:
    headers = {"Authorization": f"Bearer {made.token}", "X-Request-ID": "job-1"}
    url = f"{address}/v1/items/{QUERY}"
    httpx.post(url, params={"q": QUERY}, content=b"a picture", headers=headers)
    until(lambda: lines(log))
    (line,) = lines(log)
    assert line.pop("time").endswith("+00:00")
    assert line.pop("ms") >= 0
    assert line == {
        "request_id": "job-1",
        "client": "127.0.0.1",
        "key": made.key.id,
        "method": "POST",
        "path": "/v1/items/{item}",
        "status": 200,
        "whole": True,
        "bytes_in": 9,
        "bytes_out": 6,
        "model": "yolo",
        "pictures": 3,
    }


def test_nothing_secret_is_logged_anywhere(
    address: str, made: Made, log: pytest.LogCaptureFixture
) -> None:
    key, session = made.token, session_of(made.token)
    picture = b"\x89PNG nobody may see"
    headers = {
        "Authorization": f"Bearer {key}",
        "Cookie": f"lakesight={session}",
        "X-Request-ID": f"({key})",
        "User-Agent": QUERY,
        "Referer": f"http://x/?{QUERY}",
    }
    for path in (f"/v1/items/{key}", f"/{key}", f"/v1/none/{session}", "/v1/broken", "/v1/stream"):
        httpx_post(address + path, QUERY.encode() + picture + key.encode(), headers)
        httpx_post(address + path, QUERY.encode() + picture, {})
    until(lambda: len(lines(log)) == 10)
    written = "".join(log.handler.format(r) for r in log.records if is_of_the_server(r))
    for secret in (key, session):
        assert secret.split("_", 2)[2] not in written
    assert QUERY not in written
    assert QUERY.replace(" ", "+") not in written
    assert "PNG" not in written
    assert any(line["path"] == f"/lsk_{made.key.id}_…" for line in lines(log))


def is_of_the_server(record: logging.LogRecord) -> bool:
    """uvicorn's own access log is off, which pytest does not heed; clients log in this process."""
    return not record.name.startswith(("httpx", "httpcore", "uvicorn.access"))


def httpx_post(url: str, content: bytes, headers: dict[str, str]) -> None:
    try:
        httpx.post(url, params={"q": QUERY}, content=content, headers=headers)
    except httpx.RemoteProtocolError:  # the stream that breaks
        assert url.endswith("/stream")


def test_refusals_and_broken_answers_have_their_line(
    address: str, made: Made, log: pytest.LogCaptureFixture
) -> None:
    httpx_post(f"{address}/v1/items/a", b"", {})
    httpx_post(f"{address}/v1/stream", b"", {"Authorization": f"Bearer {made.token}"})
    until(lambda: len(lines(log)) == 2)
    refused, broken = lines(log)
    assert (refused["status"], refused["key"], refused["whole"]) == (401, None, True)
    assert (broken["status"], broken["key"], broken["whole"]) == (200, made.key.id, False)


def test_a_client_that_goes_away_has_its_line(
    address: str, made: Made, log: pytest.LogCaptureFixture
) -> None:
    with connected(address) as line:
        head = f"POST /v1/items/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {made.token}\r\n"
        line.sendall(head.encode() + b"Content-Length: 10\r\n\r\nhello")
    until(lambda: lines(log))
    (entry,) = lines(log)
    assert (entry["status"], entry["whole"], entry["bytes_in"]) == (None, False, 5)


def test_a_path_cannot_forge_a_line(
    address: str, made: Made, log: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": f"Bearer {made.token}"}
    httpx.get(address + "/x%0a%7B%22status%22:%20200%7D%1b[31m", headers=headers)
    until(lambda: lines(log))
    (record,) = [r for r in log.records if r.name == "lakesight.access"]
    text = record.getMessage()
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["status"] == 404


def test_a_filter_leaves_keys_out_of_any_log(made: Made) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "key %s!", (made.token,), None)
    assert RedactKeys().filter(record)
    assert record.getMessage() == f"key lsk_{made.key.id}_…!"
    plain = logging.LogRecord("x", logging.INFO, "", 0, "%d things", (3,), None)
    assert RedactKeys().filter(plain)
    assert plain.getMessage() == "3 things"
