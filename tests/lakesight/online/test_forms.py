"""Forms that are cut off are refused: what is left of one is not what was meant."""

import asyncio
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lakesight.online.access import Access, AccessSettings, Caller
from lakesight.online.asking import IN_A_THREAD, AskOfPictures, fetching, read
from lakesight.online.bodies import Bodies, BodyLimits
from lakesight.online.problems import Problem
from lakesight.online.refusing import RefusalSettings, Refusing
from lakesight.online.request_ids import RequestIds
from lakesight.online.service import Service
from lakesight.online.sources import Sources, SourceSettings
from tests.hostile import form
from tests.http_server import running


async def count(request: Request) -> Response:
    _, sent = await read(request, AskOfPictures)
    return JSONResponse([len(one.data) for one in sent])


def app(sources: Sources) -> Starlette:
    made = Starlette(routes=[Route("/", count, methods=["POST"])])
    made.state.fetch = fetching(sources)
    made.state.check_amount = Service().check_amount
    return made


APP = app(Sources(SourceSettings()))


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 6, 20, 500, 1100])
def test_a_form_is_whole_or_refused(cut: int) -> None:
    kind, body = form([b"a" * 1000, b"b" * 1000, b"c" * 1000])
    whole = body.removesuffix(b"\r\n")  # which is after the last boundary
    with running(Refusing(APP, RefusalSettings())) as address:
        content = whole[: len(whole) - cut]
        answer = httpx.post(address, content=content, headers={"Content-Type": kind})
    if cut:
        assert answer.status_code == 400
        assert answer.json()["type"] == "/problems/bad-request"
    else:
        assert answer.json() == [1000, 1000, 1000]


def test_a_large_form_is_read_as_a_small_one_is() -> None:
    """In a thread of its own: every false boundary in it takes its time."""
    kind, body = form([b"a" * IN_A_THREAD, b"\r\n--a" * 1000])
    with running(Refusing(APP, RefusalSettings())) as address:
        whole = httpx.post(address, content=body, headers={"Content-Type": kind})
        cut = httpx.post(address, content=body[:-9], headers={"Content-Type": kind})
    assert whole.json() == [IN_A_THREAD, 5000]
    assert cut.status_code == 400


@pytest.mark.parametrize("after", [b"", b"-", b"\r"])
def test_a_form_of_false_boundaries_is_refused_unread(after: bytes) -> None:
    """Each of them would be read in Python: of 64 MB a thread for 13 seconds."""
    kind, body = form([b"picture"])
    boundary = b"\r\n--" + kind.partition("boundary=")[2].encode()
    false = body.replace(b"picture", boundary + after + b"x")
    many = body.replace(b"picture", (boundary + after + b"x") * 2001)
    with running(Refusing(APP, RefusalSettings())) as address:
        few = httpx.post(address, content=false, headers={"Content-Type": kind})
        answer = httpx.post(address, content=many, headers={"Content-Type": kind})
    assert few.json() == [len(boundary + after) + 1]
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


CANCELLED: list[str] = []


class SlowOrRefused(Sources):
    """One address is refused once others are under way; those would come later."""

    async def read(self, uri: str, caller: Caller) -> bytes:
        try:
            await asyncio.sleep(0.2 if uri.endswith("refused") else 0.5)
        except asyncio.CancelledError:
            CANCELLED.append(uri)
            raise
        if uri.endswith("refused"):
            raise Problem("uri-refused", "not here")
        return b"x" * 60_000


def test_what_is_fetched_is_let_go_whatever_becomes_of_the_request() -> None:
    """Else a few requests would fill the server for good: it would refuse every body after them."""
    bodies = Bodies(app(SlowOrRefused(SourceSettings())), BodyLimits(max_held_bytes=200_000))
    inner = RequestIds(Access(bodies, AccessSettings(keys=None, open_paths=())))

    def asked(*names: str) -> httpx.Response:
        images = [{"uri": f"s3://bucket/{name}"} for name in names]
        return httpx.post(address, json={"images": images})

    with running(Refusing(inner, RefusalSettings())) as address:
        assert asked("a", "b").json() == [60_000, 60_000]
        assert asked("a", "b", "refused").status_code == 403
        assert sorted(CANCELLED) == ["s3://bucket/a", "s3://bucket/b"]
        assert asked("a", "b", "c", "d").status_code == 429
        time.sleep(1)  # what was under way would be here by now
        assert bodies.num_held == 0
        assert asked("a", "b", "c").status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "raw_unicode_escape", "none-such"])
def test_a_charset_that_does_not_fit_is_said(charset: str) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="json"\r\n\r\n'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    content = head + b'{"model": "\\ud800"}\r\n--b--\r\n'
    with running(Refusing(APP, RefusalSettings())) as address:
        answer = httpx.post(address, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["type"] in ("/problems/bad-request", "/problems/bad-json")
