"""The body of a request: read whole before any work begins, and never more of it than allowed."""

import asyncio
import re
from collections.abc import Callable
from contextvars import ContextVar

from pydantic import Field
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.models.base import Frozen
from lakesight.online import json_bodies
from lakesight.online.json_bodies import JsonLimits
from lakesight.online.problems import Problem

JSON = re.compile(r"application/(json|[a-z0-9.+-]+\+json)\s*(;|$)", re.IGNORECASE)
MIB = 1 << 20
HOLD: ContextVar[Callable[[int], None]] = ContextVar("hold", default=lambda *_: None)
"""Counts what the request at hand holds."""


class BodyLimits(Frozen):
    """How much one request may send, and how long it may take over it."""

    max_bytes: int = Field(default=64 * MIB, gt=0)
    """One body."""
    max_held_bytes: int = Field(default=512 * MIB, gt=0)
    """All bodies that this process holds, and the pictures that it fetched for them, once they are
    there: beyond it, requests are told to come again."""
    idle_s: float = Field(default=10.0, gt=0)
    """Time between two pieces of a body."""
    total_s: float = Field(default=60.0, gt=0)
    """Time for a whole body."""
    json_: JsonLimits = Field(default=JsonLimits(), alias="json")


class Bodies:
    """Middleware that reads the body first, within limits, and hands it on in one piece.

    So a slow sender costs a few hundred bytes here, and nothing further in; what is inside reads
    the body without waiting. A client that goes away before its body is whole is forgotten.
    """

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self.app = app
        self.limits = limits
        self.num_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read one body and pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reading = _Reading(self, receive)
        try:
            body = await reading.whole(Headers(scope=scope))
            if body is not None:
                self._check(Headers(scope=scope), body)
                # not in the scope, which Ray Serve's proxy sends to another process
                HOLD.set(reading.hold)
                await self.app(scope, _replay(body, receive), send)
        finally:
            reading.drop()

    def _check(self, headers: Headers, body: bytes) -> None:
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem("unsupported-media-type", "compressed bodies are not taken")
        if JSON.match(headers.get("content-type", "")):
            json_bodies.check(body, self.limits.json_)


class _Reading:
    """One body on its way in."""

    def __init__(self, bodies: Bodies, receive: Receive) -> None:
        self.bodies = bodies
        self.limits = bodies.limits
        self.receive = receive
        self.pieces: list[bytes] = []
        self.num_bytes = 0
        self.is_over = False
        self.is_dropped = False

    async def whole(self, headers: Headers) -> bytes | None:
        """Return the body, or None where the client went away. Raises Problem beyond a limit."""
        stated = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,20}", stated):
            raise Problem("bad-request", "Content-Length is no number")
        if int(stated) > self.limits.max_bytes:
            raise self._too_large()
        clock = asyncio.get_running_loop().time
        end_s = clock() + self.limits.total_s
        try:
            async with asyncio.timeout(min(self.limits.idle_s, self.limits.total_s)) as limit:
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        return None
                    self._take(message)
                    if self.is_over:
                        break
                    limit.reschedule(min(clock() + self.limits.idle_s, end_s))
        except TimeoutError:
            raise self._too_slow() from None
        body = b"".join(self.pieces)
        self.pieces.clear()
        return body

    def _take(self, message: Message) -> None:
        piece: bytes = message.get("body", b"")
        self.is_over = not message.get("more_body", False)
        if self.num_bytes + len(piece) > self.limits.max_bytes:
            raise self._too_large()
        self.pieces.append(piece)
        self.hold(len(piece))

    def hold(self, num_bytes: int) -> None:
        """Count bytes that are held until the answer; Problem where all hold too many.

        What comes after the answer counts nothing: nobody would take it off again.
        """
        if self.is_dropped:
            return
        self.num_bytes += num_bytes
        self.bodies.num_held += num_bytes
        if self.bodies.num_held > self.limits.max_held_bytes:
            raise Problem("busy", "too many bytes at once", headers={"Retry-After": "1"})

    def drop(self) -> None:
        """Let go of what was read."""
        self.pieces.clear()
        self.bodies.num_held -= self.num_bytes
        self.num_bytes = 0
        self.is_dropped = True

    def _too_large(self) -> Problem:
        return Problem("too-large", f"a body has at most {self.limits.max_bytes} bytes")

    def _too_slow(self) -> Problem:
        total_s, idle_s = self.limits.total_s, self.limits.idle_s
        return Problem(
            "slow-request", f"a body comes within {total_s:g} s, without a pause of {idle_s:g} s"
        )


def hold(num_bytes: int) -> None:
    """Count what was fetched for this request beside its body; Problem where all hold too much.

    Where no `Bodies` are around the app, nothing is counted.
    """
    HOLD.get()(num_bytes)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once, and then what there is: a client that goes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
