"""Headers: those that every answer has, and those that no request gets through with."""

from collections import Counter
from collections.abc import Iterable

from pydantic import Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.models.base import Frozen
from lakesight.online.problems import Problem

PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "frame-ancestors 'none'",
    ]
)
"""Content-Security-Policy of the page: its own files, no inline script or style, in no frame."""
ANSWER_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of everything else, should a browser take it for a page."""

ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), geolocation=(), microphone=()",
}
STEERING = {
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
}
"""Headers by which Ray Serve lets a client choose its own deadline (0: none), ask to be worked for
after it went, or choose the replica. The server alone decides that."""
ONCE = {b"host", b"content-length", b"content-type", b"authorization"}
"""Headers of which two would let a proxy and us read two different requests."""


class HeaderSettings(Frozen):
    """How large the headers may be, and what answers say of TLS."""

    max_bytes: int = Field(default=32 << 10, gt=0)
    """All names and values of a request."""
    max_num: int = Field(default=100, gt=0)
    """Headers of a request."""
    max_path_bytes: int = Field(default=8 << 10, gt=0)
    """The path and the query of a request."""
    hsts_s: int = Field(default=0, ge=0)
    """Seconds for which browsers shall come by https alone; 0: not said. For TLS."""


class RequestHeaders:
    """Middleware that refuses headers that are too large or say two things, and drops `STEERING`.

    It sees them once the HTTP server has read them whole: the server's own limit comes first.
    """

    def __init__(self, app: ASGIApp, settings: HeaderSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "http":
            self._check(scope)
            scope["headers"] = [item for item in scope["headers"] if not _steers(item[0])]
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        settings, headers = self.settings, scope["headers"]
        num_bytes = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > settings.max_num or num_bytes > settings.max_bytes:
            raise Problem(
                "headers-too-large",
                f"at most {settings.max_num} headers and {settings.max_bytes} bytes",
            )
        path = scope.get("raw_path") or scope["path"].encode()
        if len(path) + len(scope["query_string"]) > settings.max_path_bytes:
            raise Problem(
                "uri-too-long", f"path and query: at most {settings.max_path_bytes} bytes"
            )
        twice = repeated(name for name, _ in headers)
        if twice:
            raise Problem("bad-request", f"there are several headers {twice}")


class AnswerHeaders:
    """Middleware that puts the security headers on every answer.

    A Cache-Control or a Content-Security-Policy of the app's own stays.
    """

    def __init__(self, app: ASGIApp, settings: HeaderSettings) -> None:
        self.app = app
        self.always = dict(ALWAYS)
        if settings.hsts_s:
            self.always[b"strict-transport-security"] = b"max-age=%d" % settings.hsts_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower(), value) for name, value in message.get("headers", [])]
                message["headers"] = self._with_more(own)
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)

    def _with_more(self, own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        found = dict(own)
        is_page = found.get(b"content-type", b"").startswith(b"text/html")
        policy = PAGE_POLICY if is_page else ANSWER_POLICY
        defaults = {b"content-security-policy": policy.encode(), b"cache-control": b"no-store"}
        more = self.always | {name: v for name, v in defaults.items() if name not in found}
        return [item for item in own if item[0] not in self.always] + list(more.items())


def repeated(names: Iterable[bytes]) -> str | None:
    """Return a header of `ONCE` that is there several times, or None."""
    counts = Counter(name.lower() for name in names)
    return next((name.decode() for name in sorted(ONCE) if counts[name] > 1), None)


def _steers(name: bytes) -> bool:
    """Ray Serve takes `_` for `-` in some of them."""
    return name.lower().replace(b"_", b"-") in STEERING
