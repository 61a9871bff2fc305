"""The HTTP application. It runs under Ray Serve (`actors/replica.py`), and under plain uvicorn."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from lakesight.online import (
    caption,
    classify,
    detect,
    embed,
    health,
    inference,
    match,
    models,
    openai,
    problems,
    search,
    vqa,
)
from lakesight.online.asking import Fetch, refuse
from lakesight.online.documents import document, version
from lakesight.online.kinds import ROUTES
from lakesight.online.service import Service

log = logging.getLogger(__name__)

ROUTERS = (
    detect.router,
    classify.router,
    caption.router,
    vqa.router,
    embed.router,
    match.router,
    search.router,
    models.router,
    openai.router,
    inference.router,
    health.router,
)
BODIES = (
    detect.DetectAsk,
    classify.ClassifyAsk,
    caption.CaptionAsk,
    vqa.VqaAsk,
    embed.EmbedAsk,
    match.MatchAsk,
    search.SearchAsk,
    openai.ChatRequest,
    openai.EmbeddingsRequest,
    inference.InferenceRequest,
)
"""What endpoints read themselves, and OpenAPI would not know of."""
DESCRIPTION = (
    "The same models as `lakesight annotate`, over HTTP: a value here is the value of a row there."
)


def create_app(service: Service, fetch: Fetch = refuse) -> FastAPI:
    """Return the app; `fetch` reads pictures from addresses. The service is closed with the app."""
    app = FastAPI(
        title="Lakesight",
        version=version(),
        description=DESCRIPTION,
        docs_url=None,  # its pages load code from another host
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.service = service
    app.state.fetch = fetch
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.extend(ROUTES)
    problems.install(app)
    document(app, BODIES)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    task = asyncio.create_task(_refreshing(service))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await service.close()


async def _refreshing(service: Service) -> None:
    """Look again and again whether something was published anew."""
    while True:
        seconds = service.refresh_s
        await asyncio.sleep(seconds or 1.0)
        try:
            if seconds:
                await service.refresh()
        except Exception:  # the next time may be better, and what is served stays
            log.exception("cannot look for what was published anew")
