"""Around everything that may raise: no error leaves it, only answers."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Mapping

from pydantic import Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.models.base import Frozen
from lakesight.online.problems import (
    MEDIA_TYPE,
    Problem,
    answer,
    phrase,
    plain,
    request_id,
    unexpected,
)

log = logging.getLogger(__name__)

KEPT = ("allow", "retry-after", "www-authenticate", "connection")
"""The headers of an error answer that its problem keeps."""


class RefusalSettings(Frozen):
    """How a request is refused whose body is still on its way."""

    linger_s: float = Field(default=2.0, ge=0)
    """How long to go on reading, and forget, what a refused client still sends. A connection that
    is closed with unread bytes in it is reset, and the client might never see the answer."""


class Refusing:
    """Middleware that answers what is raised inside of it.

    A `Problem` is answered; an error answer of another media type (Starlette's, Ray Serve's)
    becomes a problem; any other exception is a 500, logged without its message, which may hold
    what a client sent.
    """

    def __init__(self, app: ASGIApp, settings: RefusalSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a web socket is refused, as nothing here speaks one."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.settings.linger_s)
        try:
            await self.app(scope, exchange.receive, exchange.send)
            await exchange.finish()
        except Problem as problem:
            await exchange.instead(answer(problem, scope))
        except ClientDisconnect:
            return
        except Exception as error:
            log.error("%s %s", request_id(scope), trace(error))
            await exchange.instead(answer(unexpected(), scope))


class _Exchange:
    """One request and its answer, as they come and go."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, linger_s: float) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.linger_s = linger_s
        self.is_read = not _has_body(scope)
        self.is_started = False
        self.replaced: tuple[int, Mapping[str, str]] | None = None

    async def receive(self) -> Message:
        """Return the next piece of the body, or that the client went."""
        message = await self._receive()
        self.is_read = self.is_read or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message on, unless it is of an error answer that is none of ours."""
        if message["type"] == "http.response.start":
            headers = {k.decode("latin-1").lower(): v for k, v in message.get("headers", [])}
            if message["status"] >= 400 and not _is_problem(headers):
                self.replaced = (message["status"], _kept(headers))
                return
            self.is_started = True
        if self.replaced is None:
            await self._send(message)

    async def finish(self) -> None:
        """Send the problem that stands for an error answer of another type, where there was one."""
        if self.replaced is not None:
            status, headers = self.replaced
            await self.instead(plain(status, phrase(status), headers, self.scope))

    async def instead(self, response: Response) -> None:
        """Send this answer where none has begun. The server cuts off a half-sent one."""
        if self.is_started:
            return
        self.is_started = True
        if self.is_read:
            await response(self.scope, self._receive, self._send)
        else:
            await self._before_the_end(response)

    async def _before_the_end(self, response: Response) -> None:
        """Answer while the body is still coming, read on for a while, and close the connection."""
        response.headers["Connection"] = "close"
        start = {"status": response.status_code, "headers": response.raw_headers}
        await self._send({"type": "http.response.start", **start})
        body = response.body
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.linger_s):
                while not self.is_read:
                    await self.receive()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_body(scope: Scope) -> bool:
    headers = {name.lower(): value for name, value in scope["headers"]}
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _is_problem(headers: Mapping[str, bytes]) -> bool:
    return headers.get("content-type", b"").startswith(MEDIA_TYPE.encode())


def _kept(headers: Mapping[str, bytes]) -> dict[str, str]:
    return {name: headers[name].decode("latin-1") for name in KEPT if name in headers}


def trace(error: BaseException) -> str:
    """Return the type and the places of an error, and of what caused it, without any message."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(lines) < 8:
        places = [
            f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(seen.__traceback__)
        ]
        lines.append(f"{type(seen).__qualname__} at {' < '.join(places[:-13:-1])}")
        seen = seen.__cause__ or seen.__context__
    return "; from ".join(lines)
