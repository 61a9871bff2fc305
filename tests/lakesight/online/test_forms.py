"""Forms that are cut off are refused: what is left of one is not what was meant."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lakesight.online.asking import AskOfPictures, fetching, read
from lakesight.online.refusing import RefusalSettings, Refusing
from lakesight.online.sources import Sources, SourceSettings
from tests.hostile import form
from tests.http_server import running


async def count(request: Request) -> Response:
    _, sent = await read(request, AskOfPictures)
    return JSONResponse([len(one.data) for one in sent])


APP = Starlette(routes=[Route("/", count, methods=["POST"])])
APP.state.fetch = fetching(Sources(SourceSettings()))


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
