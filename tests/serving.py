"""The HTTP application on a real server, in a thread of its own, and a real client for it."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from lakesight.online.access import AccessSettings
from lakesight.online.app import NOWHERE, create_app
from lakesight.online.finder import OpenIndex, no_index
from lakesight.online.guard import SafetySettings, guarded
from lakesight.online.http1 import BoundedHttp
from lakesight.online.offers import told
from lakesight.online.service import Service
from lakesight.online.sources import SourceSettings
from lakesight.online.spans import Spans

Result = TypeVar("Result")
STARTS_S = 120


@dataclass
class Running:
    """A server that answers."""

    url: str
    client: httpx.Client
    service: Service
    loop: asyncio.AbstractEventLoop

    def call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Return what a coroutine gives in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    def configure(self, **settings: Any) -> None:
        """Serve something else from now on."""
        self.call(self.service.configure(lambda: told(settings)))


@contextmanager
def running(
    open_index: OpenIndex = no_index,
    sources: SourceSettings = NOWHERE,
    keys: Path | None = None,
    spans: Spans | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """Yield a server of these settings (`offers.Serving`); it is ended afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        safety = SafetySettings(access=AccessSettings(keys=keys))
        ready: Future[tuple[Service, asyncio.AbstractEventLoop, uvicorn.Server]] = Future()

        async def serve() -> None:  # the service belongs to this loop
            service = Service(open_index, spans)
            try:
                app = guarded(create_app(service, sources), safety, service.metrics, spans)
                await service.configure(lambda: told({"refresh_s": 0, **settings}))
            except BaseException as error:
                await service.close()
                ready.set_exception(error)
                return
            options: Any = {"log_level": "warning", "ws": "none", "http": BoundedHttp}
            server = uvicorn.Server(uvicorn.Config(app, **options))
            ready.set_result((service, asyncio.get_running_loop(), server))
            await server.serve([listening])

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="server")
        thread.start()
        try:
            service, loop, server = ready.result(STARTS_S)
            url = f"http://127.0.0.1:{port}"
            try:
                with httpx.Client(base_url=url, timeout=60) as client:
                    yield Running(url, client, service, loop)
            finally:
                server.should_exit = True
        finally:
            thread.join()
