"""Signing a page in: its key once, by the link's fragment, for a cookie that no script reads.

The link is `http://…/#key=lsk_…`. A fragment is not sent to any server, nor to another site as a
referrer; the page sends it in the body of one request, and takes it out of the address bar.
"""

import re

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lakesight.models.base import Frozen
from lakesight.online.access import Access, unauthenticated
from lakesight.online.keys import KEY, session_of
from lakesight.online.origins import is_foreign
from lakesight.online.problems import Problem

MAX_AGE_S = 30 * 24 * 3600
"""How long a browser keeps the cookie; the key's own end, and its revocation, end it sooner."""
MAX_BYTES = 1024


class SignIn(Frozen):
    """What the page sends."""

    key: str


def link(address: str, token: str) -> str:
    """Return the link that signs a page in, for an address such as `http://127.0.0.1:8000`."""
    return f"{address.rstrip('/')}/#key={token}"


async def sign_in(request: Request) -> Response:
    """Exchange a key for a cookie."""
    access = _of_same_origin(request)
    token = await _token(request)
    if access.keys is None:
        return Response(status_code=204)
    key = access.keys.find(token, KEY)
    if key is None:
        raise unauthenticated("the API key is not known, or has ended")
    response = Response(status_code=204)
    _set(response, access, session_of(token), MAX_AGE_S)
    return response


async def signed_in(request: Request) -> Response:
    """Say whether keys are asked for, and the name of the one that a page is signed in by."""
    access: Access = request.scope["state"]["access"]
    try:
        key = access.identify(request, request.method).key
    except Problem as problem:
        if problem.kind != "unauthenticated":
            raise
        return JSONResponse({"asks": True, "key": None})
    return JSONResponse({"asks": key is not None, "key": key.name if key else None})


async def sign_out(request: Request) -> Response:
    """Take the cookie away."""
    access = _of_same_origin(request)
    response = Response(status_code=204)
    _set(response, access, "", 0)
    return response


ROUTES = [
    Route("/signin", sign_in, methods=["POST"]),
    Route("/signin", signed_in, methods=["GET"]),
    Route("/signout", sign_out, methods=["POST"]),
]
"""To be mounted by the app, inside `Access`."""


def _of_same_origin(request: Request) -> Access:
    """Return the middleware; a page of another site must not sign anyone in, or out."""
    access: Access = request.scope["state"]["access"]
    if is_foreign(request.headers, request.method, needs_proof=True):
        raise Problem("cross-site", "only this server's own page signs in")
    return access


async def _token(request: Request) -> str:
    if not re.match(r"application/json\b", request.headers.get("content-type", "")):
        raise Problem("unsupported-media-type", 'expected the JSON {"key": "lsk_…"}')
    body = await request.body()
    try:
        if len(body) <= MAX_BYTES:
            return SignIn.model_validate_json(body).key
    except ValidationError:
        pass
    raise Problem("invalid", 'expected the JSON {"key": "lsk_…"}')


def _set(response: Response, access: Access, value: str, max_age_s: int) -> None:
    response.set_cookie(
        access.settings.cookie,
        value,
        max_age=max_age_s,
        httponly=True,
        samesite="strict",
        secure=access.settings.is_tls,
        path="/",
    )
