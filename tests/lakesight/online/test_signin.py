from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lakesight.online import key_file, signin
from lakesight.online.access import Access, AccessSettings, caller_of
from lakesight.online.keys import Made, make
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import running

HERE = {"Sec-Fetch-Site": "same-origin"}


async def who(request: Request) -> Response:
    return PlainTextResponse(caller_of(request).by)


def served(settings: AccessSettings) -> ASGIApp:
    app = Starlette(routes=[*signin.ROUTES, Route("/v1/who", who, methods=["GET", "POST"])])
    return Refusing(Access(app, settings), RefusalSettings())


@pytest.fixture
def made() -> Made:
    return make("page")


@pytest.fixture
def path(tmp_path: Path, made: Made) -> Path:
    found = tmp_path / "keys" / "keys.json"
    key_file.add(found, made.key)
    return found


@pytest.fixture
def address(path: Path) -> Iterator[str]:
    with running(served(AccessSettings(keys=path))) as found:
        yield found


def test_a_page_signs_in_and_out(address: str, made: Made) -> None:
    with httpx.Client(base_url=address, headers=HERE) as browser:
        assert browser.post("/v1/who").status_code == 401
        answer = browser.post("/signin", json={"key": made.token})
        assert answer.status_code == 204
        assert browser.post("/v1/who").text == "session"
        assert browser.post("/signout").status_code == 204
        assert browser.post("/v1/who").status_code == 401


def test_a_page_is_told_who_is_signed_in(address: str, made: Made) -> None:
    with httpx.Client(base_url=address, headers=HERE) as browser:
        assert browser.get("/signin").json() == {"asks": True, "key": None}
        browser.post("/signin", json={"key": made.token})
        assert browser.get("/signin").json() == {"asks": True, "key": "page"}
        other = browser.get("/signin", headers={"Sec-Fetch-Site": "cross-site"})
        assert other.status_code == 403


def test_the_cookie_is_for_this_server_alone(address: str, made: Made) -> None:
    answer = httpx.post(f"{address}/signin", json={"key": made.token}, headers=HERE)
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith("lakesight=lss_")
    assert made.token not in answer.headers["set-cookie"]
    assert made.token.split("_", 2)[2] not in answer.headers["set-cookie"]
    assert {a.lower() for a in attributes} == {
        "httponly",
        "samesite=strict",
        "path=/",
        f"max-age={signin.MAX_AGE_S}",
    }


def test_under_tls_the_cookie_is_secure(path: Path, made: Made) -> None:
    with running(served(AccessSettings(keys=path, is_tls=True))) as address:
        answer = httpx.post(f"{address}/signin", json={"key": made.token}, headers=HERE)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-lakesight=lss_")
    assert "secure" in cookie.lower().split("; ")
    assert "domain" not in cookie.lower()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
    ],
)
def test_other_sites_sign_nobody_in(address: str, made: Made, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{address}/signin", json={"key": made.token}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert httpx.post(f"{address}/signout", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b'{"key": "lsk_000000000000_wrong"}', "application/json", 401),
        (b'{"key": 1}', "application/json", 422),
        (b"{", "application/json", 422),
        (b'{"key": "' + b"x" * 2000 + b'"}', "application/json", 422),
        (b"key=lsk_1", "application/x-www-form-urlencoded", 415),
        (b'{"key": "lsk_1"}', "text/plain", 415),
    ],
)
def test_what_signs_nobody_in(address: str, content: bytes, kind: str, code: int) -> None:
    headers = HERE | {"Content-Type": kind}
    answer = httpx.post(f"{address}/signin", content=content, headers=headers)
    assert answer.status_code == code
    assert "set-cookie" not in answer.headers


def test_a_session_does_not_sign_in(address: str, made: Made) -> None:
    answer = httpx.post(f"{address}/signin", json={"key": made.token}, headers=HERE)
    session = answer.cookies["lakesight"]
    again = httpx.post(f"{address}/signin", json={"key": session}, headers=HERE)
    assert again.status_code == 401


def test_without_keys_signing_in_changes_nothing() -> None:
    with running(served(AccessSettings(keys=None))) as address:
        answer = httpx.post(f"{address}/signin", json={"key": "any"}, headers=HERE)
        assert answer.status_code == 204
        assert "set-cookie" not in answer.headers
        assert httpx.get(f"{address}/signin").json() == {"asks": False, "key": None}


def test_the_link_tells_no_server_the_key(made: Made) -> None:
    found = signin.link("http://127.0.0.1:8000/", made.token)
    assert found == f"http://127.0.0.1:8000/#key={made.token}"
    url = httpx.URL(found)
    assert made.token not in url.raw_path.decode(), "a fragment is not sent"
