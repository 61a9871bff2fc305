"""All of it together, in its order."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lakesight.online import key_file
from lakesight.online.access import AccessSettings
from lakesight.online.bodies import BodyLimits
from lakesight.online.guard import SafetySettings, at_the_door, guarded
from lakesight.online.keys import Made, make
from lakesight.online.load import LoadLimits
from lakesight.online.origins import LOCAL_NAMES, HostSettings
from lakesight.online.problems import MEDIA_TYPE
from tests.http_server import connected, running, status


async def work(request: Request) -> Response:
    return JSONResponse({"length": len(await request.body())})


async def break_(request: Request) -> Response:
    raise RuntimeError


async def health(request: Request) -> Response:
    return PlainTextResponse("well")


APP = Starlette(
    routes=[
        Route("/v1/work", work, methods=["POST"]),
        Route("/v1/break", break_),
        Route("/healthz", health),
    ]
)
BODIES = BodyLimits(max_bytes=1000)


@pytest.mark.parametrize(
    ("access", "names"),
    [
        (AccessSettings(keys=None), LOCAL_NAMES),
        (AccessSettings(keys=None, anyone=True), ("lake.example",)),
        (AccessSettings(keys=Path("keys.json")), ("lake.example",)),
    ],
)
def test_without_keys_the_machine_answers_to_its_own_names(
    access: AccessSettings, names: tuple[str, ...]
) -> None:
    hosts = HostSettings(names=("lake.example",))
    assert SafetySettings(access=access, hosts=hosts).host_settings.names == names


@pytest.fixture
def made() -> Made:
    return make("all")


@pytest.fixture
def keys(tmp_path: Path, made: Made) -> Path:
    found = tmp_path / "keys" / "keys.json"
    key_file.add(found, made.key)
    return found


@pytest.fixture
def address(keys: Path) -> Iterator[str]:
    settings = SafetySettings(access=AccessSettings(keys=keys), bodies=BODIES)
    with running(guarded(APP, settings)) as found:
        yield found


def test_every_answer_has_an_id_and_its_headers(address: str, made: Made) -> None:
    key = {"Authorization": f"Bearer {made.token}"}
    answers = [
        httpx.get(f"{address}/healthz"),
        httpx.post(f"{address}/v1/work", content=b"abc", headers=key),
        httpx.post(f"{address}/v1/work", content=b"abc"),
        httpx.post(f"{address}/v1/work", content=b"x" * 1001, headers=key),
        httpx.get(f"{address}/v1/none", headers=key),
        httpx.get(f"{address}/v1/work", headers=key),
        httpx.get(f"{address}/v1/break", headers=key),
        httpx.get(f"{address}/healthz", headers={"x": "1" * 40_000}),
    ]
    assert [one.status_code for one in answers] == [200, 200, 401, 413, 404, 405, 500, 431]
    for one in answers:
        assert one.headers["x-request-id"]
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["cache-control"] == "no-store"
    for one in answers[2:]:
        assert one.headers["content-type"] == MEDIA_TYPE
        assert one.json()["request_id"] == one.headers["x-request-id"]


def test_who_has_no_key_is_refused_before_its_body_is_read(address: str) -> None:
    with connected(address) as line:
        line.sendall(b"POST /v1/work HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
        assert status(line.recv(1 << 16)) == 401


def test_without_keys_only_this_machine_is_named() -> None:
    settings = SafetySettings(
        access=AccessSettings(keys=None), hosts=HostSettings(names=("other.example",))
    )
    with running(guarded(APP, settings)) as address:
        assert httpx.post(f"{address}/v1/work", content=b"abc").json() == {"length": 3}
        for path in ("/v1/work", "/healthz", "/"):
            for host in ("evil.example", "other.example"):
                assert httpx.get(address + path, headers={"Host": host}).status_code == 421


def test_with_keys_names_are_those_of_the_settings(keys: Path) -> None:
    settings = SafetySettings(
        access=AccessSettings(keys=keys), hosts=HostSettings(names=("my.example",))
    )
    with running(guarded(APP, settings)) as address:
        assert httpx.get(f"{address}/healthz", headers={"Host": "my.example"}).text == "well"
        assert httpx.get(f"{address}/healthz").status_code == 421


def test_refused_requests_take_no_place(keys: Path, made: Made) -> None:
    settings = SafetySettings(
        access=AccessSettings(keys=keys), load=LoadLimits(max_requests=1, answer_s=5)
    )
    with running(guarded(APP, settings)) as address, connected(address) as line:
        head = f"POST /v1/work HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {made.token}\r\n"
        line.sendall(head.encode() + b"Content-Length: 5\r\n\r\nhell")
        key = {"Authorization": f"Bearer {made.token}"}
        for _ in range(3):  # the one whose body is on its way waits for no answer yet
            answer = httpx.post(f"{address}/v1/work", content=b"abc", headers=key)
            assert answer.status_code == 200
        line.sendall(b"o")
        assert status(line.recv(1 << 16)) == 200


class Proxy:
    """What Ray Serve's proxy does, as far as the door is concerned: it notes what it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.names: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.names |= {name for name, _ in scope["headers"]}
        self.bodies.append((await receive())["body"])
        await PlainTextResponse("no replica", status_code=503)(scope, receive, send)


def test_the_door_lets_through_what_is_whole_and_sane(keys: Path) -> None:
    proxy = Proxy()
    settings = SafetySettings(access=AccessSettings(keys=keys), bodies=BODIES)
    with running(at_the_door(proxy, settings)) as address:
        headers = {"X-Request-Timeout-Seconds": "0", "X-Mine": "1"}
        answer = httpx.post(address, content=iter([b"a" * 300] * 3), headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert httpx.post(address, content=iter([b"a" * 300] * 4)).status_code == 413
    assert proxy.bodies == [b"a" * 900]
    assert b"x-mine" in proxy.names
    assert b"x-request-timeout-seconds" not in proxy.names
