"""One id a request: taken from X-Request-ID if it is sane, else made; answered and logged."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAME = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Middleware that gives each request its id, as `scope["state"]["request_id"]`.

    What is inside, Ray Serve among it, sees the same id in the header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on with its id, and put the id on the answer, once."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = chosen(Headers(scope=scope).getlist(NAME))
        scope.setdefault("state", {})["request_id"] = request_id
        others = [item for item in scope["headers"] if item[0].lower() != NAME.lower().encode()]
        scope["headers"] = [*others, (NAME.lower().encode(), request_id.encode())]

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[NAME] = request_id
            await send(message)

        await self.app(scope, receive, with_id)


def chosen(given: list[str]) -> str:
    """Return the id that came, or a new one where none came, several, or an odd one."""
    if len(given) == 1 and SANE.fullmatch(given[0]):
        return given[0]
    return uuid.uuid4().hex
