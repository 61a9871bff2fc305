from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from lakesight.errors import UserError
from lakesight.online import key_file
from lakesight.online.access import Access, AccessSettings, Caller, caller_of
from lakesight.online.keys import Made, Rate, Scopes, make, session_of
from lakesight.online.prefixes import Prefix
from lakesight.online.problems import install
from lakesight.online.rates import Buckets
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import running, said, status


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    install(app)

    @app.get("/")
    @app.get("/healthz")
    @app.get("/page/x.js")
    async def open_() -> str:
        return "open"

    @app.api_route("/v1/who", methods=["GET", "POST"])
    async def who(request: Request) -> list[str | None]:
        caller = caller_of(request)
        return [caller.by, caller.key.name if caller.key else None]

    @app.get("/v1/use/{model}/{index}")
    async def use(request: Request, model: str, index: str) -> str:
        caller = caller_of(request)
        caller.require_model(model)
        caller.require_index(index)
        return "used"

    @app.get("/v1/pictures/{num}")
    async def pictures(request: Request, num: int) -> str:
        caller_of(request).charge(num)
        return "seen"

    return app


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


@pytest.fixture
def made(path: Path) -> Made:
    found = make("phone")
    key_file.add(path, found.key)
    return found


@pytest.fixture
def address(path: Path, made: Made) -> Iterator[str]:
    app = Access(make_app(), AccessSettings(keys=path))
    with running(Refusing(app, RefusalSettings())) as found:
        yield found


@pytest.fixture
def open_address() -> Iterator[str]:
    with running(
        Refusing(Access(make_app(), AccessSettings(keys=None)), RefusalSettings())
    ) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_lets_in(address: str, made: Made) -> None:
    for header in (bearer(made.token), {"authorization": f"bearer {made.token}"}):
        answer = httpx.get(f"{address}/v1/who", headers=header)
        assert answer.status_code == 200
        assert answer.json() == ["key", "phone"]


def test_without_a_key_nobody_comes_in(address: str) -> None:
    for path in ("/v1/who", "/v1/nothing", "/metrics", "/v2/health", "/nothing", "//healthz"):
        answer = httpx.get(address + path)
        assert answer.status_code == 401, path
        assert answer.json()["type"] == "/problems/unauthenticated"
        assert answer.headers["www-authenticate"] == 'Bearer realm="lakesight"'


@pytest.mark.parametrize(
    "spelt",
    [
        "/page/../v1/who",
        "/page/%2e%2e/v1/who",
        "/page/..%2fv1%2fwho",
        "/healthz/../v1/who",
        "/v1/who/",
        "/V1/who",
        "/v1/who;/healthz",
        "/v1/who?x=/healthz",
        "/v1/who%00/healthz",
        "/healthz%2f..%2fv1%2fwho",
    ],
)
def test_no_spelling_of_a_path_is_a_way_in(address: str, spelt: str) -> None:
    request = f"GET {spelt} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = said(address, request.encode())
    assert status(answer) in (400, 401, 404)
    assert b"nobody" not in answer


def test_what_is_open_needs_none(address: str, open_address: str) -> None:
    for path in ("/", "/healthz", "/page/x.js"):
        assert httpx.get(address + path).json() == "open"
        assert httpx.get(open_address + path).json() == "open"
        assert httpx.get(address + path, headers=bearer("wrong")).json() == "open"


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer wrong",
        "Bearer lsk_000000000000_" + "A" * 43,
        "Basic bHNrOng=",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 10_000,
    ],
)
def test_a_key_that_is_none_is_refused(address: str, value: str) -> None:
    headers = {b"Authorization": value.encode("latin-1")}
    answer = httpx.get(f"{address}/v1/who", headers=headers)
    assert answer.status_code == 401
    assert "AAAA" not in answer.text


def test_keys_are_taken_from_nowhere_else(address: str, made: Made) -> None:
    for query in ("key", "api_key", "access_token"):
        url = f"{address}/v1/who?{query}={made.token}"
        assert httpx.get(url).status_code == 401
    assert httpx.get(f"{address}/v1/who", headers={"X-API-Key": made.token}).status_code == 401
    assert httpx.get(f"{address}/v1/who", auth=("", made.token)).status_code == 401
    cookie = {"Cookie": f"lakesight={made.token}"}
    assert httpx.get(f"{address}/v1/who", headers=cookie).status_code == 401


def test_keys_change_while_the_server_runs(address: str, path: Path, made: Made) -> None:
    new = make("new phone")
    assert httpx.get(f"{address}/v1/who", headers=bearer(new.token)).status_code == 401
    key_file.add(path, new.key)
    for token in (made.token, new.token):
        assert httpx.get(f"{address}/v1/who", headers=bearer(token)).status_code == 200
    key_file.remove(path, made.key.id)
    assert httpx.get(f"{address}/v1/who", headers=bearer(made.token)).status_code == 401
    assert httpx.get(f"{address}/v1/who", headers=bearer(new.token)).status_code == 200
    path.write_text("broken")
    assert httpx.get(f"{address}/v1/who", headers=bearer(new.token)).status_code == 200


def test_a_key_ends(address: str, path: Path) -> None:
    over = make("over", expires=datetime.now(UTC) - timedelta(seconds=1))
    key_file.add(path, over.key)
    answer = httpx.get(f"{address}/v1/who", headers=bearer(over.token))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].endswith('error="invalid_token"')


def test_a_key_uses_what_it_names(address: str, path: Path) -> None:
    some = make("some", Scopes(models=("yolo",), indexes=("photos",)))
    key_file.add(path, some.key)
    codes = {
        use: httpx.get(f"{address}/v1/use/{use}", headers=bearer(some.token)).status_code
        for use in ("yolo/photos", "blip/photos", "yolo/other", "*/photos", "YOLO/photos")
    }
    assert codes == {
        "yolo/photos": 200,
        "blip/photos": 403,
        "yolo/other": 403,
        "*/photos": 403,
        "YOLO/photos": 403,
    }


def test_a_key_has_its_rate(address: str, path: Path, made: Made) -> None:
    slow = make("slow", rate=Rate(per_s=0.01, burst=3))
    key_file.add(path, slow.key)
    codes = [
        httpx.get(f"{address}/v1/who", headers=bearer(slow.token)).status_code for _ in range(5)
    ]
    assert codes == [200, 200, 200, 429, 429]
    answer = httpx.get(f"{address}/v1/who", headers=bearer(slow.token))
    assert answer.json()["type"] == "/problems/rate-limited"
    assert 90 <= int(answer.headers["retry-after"]) <= 100
    assert httpx.get(f"{address}/v1/who", headers=bearer(made.token)).status_code == 200
    assert httpx.get(f"{address}/healthz", headers=bearer(slow.token)).status_code == 200


def test_pictures_count_towards_the_rate(address: str, path: Path) -> None:
    slow = make("slow", rate=Rate(per_s=0.01, burst=10))
    key_file.add(path, slow.key)
    get = [
        httpx.get(f"{address}/v1/pictures/10", headers=bearer(slow.token)).status_code
        for _ in range(2)
    ]
    assert get == [200, 429]


def test_a_session_counts_for_its_own_page(address: str, made: Made) -> None:
    cookie = {"Cookie": f"a=b; lakesight={session_of(made.token)}; c=d"}
    origin = {"Origin": address}

    def ask(method: str, headers: dict[str, str]) -> int:
        return httpx.request(method, f"{address}/v1/who", headers=cookie | headers).status_code

    assert ask("POST", origin) == 200
    assert ask("POST", {"Sec-Fetch-Site": "same-origin"}) == 200
    assert ask("GET", {}) == 200
    assert ask("POST", {}) == 403
    assert ask("POST", {"Origin": "https://evil.example"}) == 403
    assert ask("POST", {"Origin": "http://127.0.0.1:1"}) == 403
    assert ask("GET", {"Sec-Fetch-Site": "cross-site"}) == 403
    assert ask("POST", {"Sec-Fetch-Site": "same-site"} | origin) == 403
    assert ask("POST", bearer(made.token) | {"Origin": "https://evil.example"}) == 200, (
        "a key in a header is no cookie: no page sends it by accident"
    )


def test_a_session_ends_with_its_key(address: str, path: Path, made: Made) -> None:
    headers = {"Cookie": f"lakesight={session_of(made.token)}"}
    assert httpx.get(f"{address}/v1/who", headers=headers).json() == ["session", "phone"]
    key_file.remove(path, made.key.id)
    assert httpx.get(f"{address}/v1/who", headers=headers).status_code == 401


def test_a_session_is_no_key(address: str, made: Made) -> None:
    headers = bearer(session_of(made.token))
    assert httpx.get(f"{address}/v1/who", headers=headers).status_code == 401


def test_without_keys_pages_of_other_sites_are_refused(open_address: str) -> None:
    def ask(method: str, headers: dict[str, str]) -> int:
        return httpx.request(method, f"{open_address}/v1/who", headers=headers).status_code

    assert httpx.post(f"{open_address}/v1/who").json() == ["nobody", None]
    assert ask("GET", {}) == 200
    assert ask("POST", {"Origin": open_address}) == 200
    assert ask("POST", {"Origin": "https://evil.example"}) == 403
    assert ask("GET", {"Sec-Fetch-Site": "cross-site"}) == 403
    assert ask("POST", {"Origin": "null"}) == 403


def test_without_a_file_of_keys_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no keys"):
        Access(make_app(), AccessSettings(keys=tmp_path / "keys.json"))


def test_both_the_server_and_the_key_allow_a_prefix() -> None:
    allowed = (Prefix.parse("s3://lake/a/"),)
    key = make("k", Scopes(s3=("s3://lake/a/b/", "s3://other/"))).key
    caller = Caller(key, "key", Buckets())
    assert caller.may_read("lake", "a/b/c.jpg", allowed)
    assert not caller.may_read("lake", "a/c.jpg", allowed), "the key does not"
    assert not caller.may_read("other", "c.jpg", allowed), "the server does not"
    assert not Caller(make("k").key, "key", Buckets()).may_read("lake", "a/c.jpg", allowed)
    assert Caller(None, "nobody", Buckets()).may_read("lake", "a/c.jpg", allowed)
    assert not Caller(None, "nobody", Buckets()).may_read("lake", "b/c.jpg", allowed)
