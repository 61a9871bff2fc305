"""The access log: one JSON object a request, without secrets, pictures or what was asked.

Requests are counted here, too, since this sees each of them with its answer.
"""

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.online.keys import redacted
from lakesight.online.metrics import Metrics

log = logging.getLogger("lakesight.access")
MAX_PATH = 120


class AccessLog:
    """Middleware that logs and counts each request when its answer has ended, or was given up.

    Neither query, nor body, nor any header of the request is written but its id. The path is
    the route's own pattern; of a path that is no route, the beginning, with keys left out.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry = _Entry(scope, receive, send)
        self.metrics.in_flight.inc()
        try:
            await self.app(scope, entry.receive, entry.send)
        finally:
            self.metrics.in_flight.dec()
            self.metrics.on_request(scope, entry.status, entry.seconds())
            if log.isEnabledFor(logging.INFO):
                log.info("%s", json.dumps(entry.line()))


class RedactKeys(logging.Filter):
    """Leaves the secret out of every API key in what a handler writes, should one get there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact one record."""
        text = record.getMessage()
        if redacted(text) != text:
            record.msg, record.args = redacted(text), ()
        return True


class _Entry:
    """What is known of one request so far."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.start_s = time.perf_counter()
        self.status: int | None = None
        self.num_in = 0
        self.num_out = 0
        self.is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.num_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.num_out += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
        await self._send(message)

    def seconds(self) -> float:
        return time.perf_counter() - self.start_s

    def line(self) -> dict[str, Any]:
        state = self.scope.get("state", {})
        caller = state.get("caller")
        client = self.scope.get("client")
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": state.get("request_id"),
            "client": client[0] if client else None,
            "key": caller.key.id if caller and caller.key else None,
            "method": self.scope["method"][:20],
            "path": path_shown(self.scope),
            "status": self.status,
            "whole": self.is_whole,
            "bytes_in": self.num_in,
            "bytes_out": self.num_out,
            "ms": round(self.seconds() * 1000, 1),
            **state.get("log", {}),
        }


def path_shown(scope: Scope) -> str:
    """Return the path as it is logged."""
    pattern = getattr(scope.get("route"), "path", None)
    return pattern or redacted(scope["path"])[:MAX_PATH]
