"""What a request that cannot be answered gets instead: problem details (RFC 9457).

Endpoints and middlewares raise `Problem`; `refusing.Refusing`, around all of them, answers.
"""

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from lakesight.online.kinds import KINDS, OF_STATUS, PREFIX
from lakesight.online.notes import note

MEDIA_TYPE = "application/problem+json"
MAX_TEXT = 500
"""Characters of a detail: what a client sent may be quoted in it, and is not sent back whole."""
MAX_ERRORS = 20
OPENAI = ("/v1/chat/completions", "/v1/embeddings")
"""How the paths end whose problems also have the member `error` that OpenAI's clients show."""


class Problem(HTTPException):
    """A request that is refused, with the name of one of `kinds.KINDS` and a sentence.

    Of Starlette's class, so that FastAPI lets it through where it makes a 400 of all else.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(KINDS[kind].status, detail, headers)
        self.kind = kind
        self.members = dict(members or {})

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.status_code


class ProblemDetails(BaseModel):
    """What every refusal looks like (RFC 9457, section 3)."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: str
    """What kind of problem it is: a path on this server that explains it, or `about:blank`."""
    title: str
    """The kind in a few words; the same for every problem of that kind."""
    status: int
    """The HTTP status."""
    detail: str | None = None
    """What is wrong with this request, and what to do."""
    request_id: str | None = None
    """What the answer's X-Request-ID says; the server's log has it too."""


RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
    }
    for code, description in {"4XX": "The request is refused", "5XX": "No answer now"}.items()
}
"""What OpenAPI says of errors: give it to every router, or FastAPI documents its own."""


def answer(problem: Problem, scope: Scope) -> Response:
    """Return the response to a request that is refused."""
    kind = KINDS[problem.kind]
    note(scope, problem=problem.kind)
    members = {"type": PREFIX + problem.kind, "title": kind.title, "status": kind.status}
    text = {"detail": shortened(problem.detail), **problem.members}
    return _response(members | text, scope, problem.headers or {})


def plain(status: int, detail: str, headers: Mapping[str, str], scope: Scope) -> Response:
    """Return the response for a status alone, as Starlette and FastAPI raise them."""
    if status in OF_STATUS:
        return answer(Problem(OF_STATUS[status], detail, headers=headers), scope)
    members = {"type": "about:blank", "title": phrase(status), "status": status}
    return _response(members | {"detail": shortened(detail)}, scope, headers)


def phrase(status: int) -> str:
    """Return the words of a status."""
    return http.client.responses.get(status, "Error")


def shortened(text: str) -> str:
    """Return a text that may quote what was sent: at most 500 characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def request_id(scope: Scope) -> str | None:
    """Return the id that the request was given, or None before it has one."""
    found: str | None = scope.get("state", {}).get("request_id")
    return found


def _response(members: dict[str, Any], scope: Scope, headers: Mapping[str, str]) -> Response:
    """As ASCII, so that half a surrogate pair that was sent cannot break the answer."""
    if scope.get("path", "").endswith(OPENAI):
        members = members | {"error": _as_openai(members)}
    body = json.dumps({**members, "request_id": request_id(scope)}).encode("ascii")
    return Response(body, members["status"], headers=dict(headers), media_type=MEDIA_TYPE)


def _as_openai(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return a problem as OpenAI's clients look for it; RFC 9457 lets it stand beside the rest."""
    return {
        "message": members.get("detail") or members["title"],
        "type": str(members["type"]).removeprefix(PREFIX),
        "param": None,
        "code": members["status"],
    }


def invalid(errors: Sequence[Any]) -> Problem:
    """Return the problem of a request that does not fit: where and why, never what was sent."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem("bad-json", "the body is no JSON")
    found = [{"at": _place(error["loc"]), "message": shortened(error["msg"])} for error in errors]
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    detail = f"{first['at']}: {first['message']}{more}"
    return Problem("invalid", detail, members={"errors": found[:MAX_ERRORS]})


def _place(loc: Sequence[str | int]) -> str:
    """Return a place in the request: the names that a client made up are cut."""
    return ".".join(str(part)[:60] for part in loc[:8])


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(error, request.scope)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in {204, 304}:
        return Response(status_code=error.status_code, headers=error.headers)
    return plain(error.status_code, str(error.detail), error.headers or {}, request.scope)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(invalid(error.errors()), request.scope)


async def _on_unexpected(request: Request, _error: Exception) -> Response:
    """Answer; Starlette raises the error again, and `Refusing` logs it."""
    return answer(unexpected(), request.scope)


def install(app: FastAPI) -> None:
    """Make an app answer all its own errors as problem details."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ResponseValidationError, _on_unexpected)
    app.add_exception_handler(Exception, _on_unexpected)


def unexpected() -> Problem:
    """Return what is said of a mistake of ours: nothing but where to look."""
    return Problem("internal", "the server's log says more, by the request id")
