"""Forms that are cut off are refused: what is left of one is not what was meant."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lakesight.online.asking import IN_A_THREAD, AskOfPictures, fetching, read
from lakesight.online.refusing import RefusalSettings, Refusing
from lakesight.online.service import Service
from lakesight.online.sources import Sources, SourceSettings
from tests.hostile import form
from tests.http_server import running


async def count(request: Request) -> Response:
    _, sent = await read(request, AskOfPictures)
    return JSONResponse([len(one.data) for one in sent])


APP = Starlette(routes=[Route("/", count, methods=["POST"])])
APP.state.fetch = fetching(Sources(SourceSettings()))
APP.state.check_amount = Service().check_amount


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


@pytest.mark.parametrize("charset", ["undefined", "raw_unicode_escape", "none-such"])
def test_a_charset_that_does_not_fit_is_said(charset: str) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="json"\r\n\r\n'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    content = head + b'{"model": "\\ud800"}\r\n--b--\r\n'
    with running(Refusing(APP, RefusalSettings())) as address:
        answer = httpx.post(address, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["type"] in ("/problems/bad-request", "/problems/bad-json")
