"""How much is done at once, and for how long: a cap of requests, and a deadline for each."""

import asyncio

from pydantic import Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.models.base import Frozen
from lakesight.online.access import path_of
from lakesight.online.problems import Problem


class LoadLimits(Frozen):
    """How much work this process takes on."""

    folders: tuple[str, ...] = ("/v1/", "/v2/")
    """Where work is asked for. Health, metrics and the page are answered however busy it is."""
    max_requests: int = Field(default=256, gt=0)
    """Requests that are waiting or worked on; beyond it: 429."""
    retry_after_s: int = Field(default=1, ge=1)
    """What the header Retry-After of a 429 says."""
    answer_s: float = Field(default=30.0, gt=0)
    """Time from the body's last byte to the first of the answer; beyond it: 504."""
    stream_s: float = Field(default=300.0, gt=0)
    """Time from there to the answer's last byte; beyond it the connection is cut."""


class Load:
    """Middleware that takes on so many requests, and gives each up at its deadline.

    What is given up is cancelled. A model that runs in a thread ends its batch first.
    """

    def __init__(self, app: ASGIApp, limits: LoadLimits) -> None:
        self.app = app
        self.limits = limits
        self.num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_work = path_of(scope).startswith(self.limits.folders)
        if is_work and self.num_requests >= self.limits.max_requests:
            retry = {"Retry-After": str(self.limits.retry_after_s)}
            raise Problem("busy", f"{self.num_requests} requests are waiting", headers=retry)
        self.num_requests += is_work
        try:
            await self._in_time(scope, receive, send)
        finally:
            self.num_requests -= is_work

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_started = False
        deadline = asyncio.timeout(self.limits.answer_s)

        async def on_start(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                deadline.reschedule(asyncio.get_running_loop().time() + self.limits.stream_s)
            await send(message)

        try:
            async with deadline:
                await self.app(scope, receive, on_start)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not is_started:
                raise Problem("deadline", f"no answer within {self.limits.answer_s:g} s") from None
