"""The HTTP application. It runs under Ray Serve (`actors/replica.py`), and under plain uvicorn."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.routing import Route

from lakesight.online import (
    caption,
    classify,
    detect,
    embed,
    health,
    inference,
    inference_schema,
    kinds,
    match,
    models,
    openai_chat,
    openai_embeddings,
    openai_schema,
    page,
    problems,
    rows,
    scrape,
    search,
    signin,
    vqa,
)
from lakesight.online.asking import fetching
from lakesight.online.documents import document, version
from lakesight.online.service import Service
from lakesight.online.sources import Sources, SourceSettings

log = logging.getLogger(__name__)

NOWHERE = SourceSettings()

ROUTERS = (
    detect.router,
    classify.router,
    caption.router,
    vqa.router,
    embed.router,
    match.router,
    search.router,
    rows.router,
    models.router,
    openai_chat.router,
    openai_embeddings.router,
    inference.router,
    health.router,
    scrape.router,
)
BODIES = (
    detect.DetectAsk,
    classify.ClassifyAsk,
    caption.CaptionAsk,
    vqa.VqaAsk,
    embed.EmbedAsk,
    match.MatchAsk,
    search.SearchAsk,
    openai_schema.ChatRequest,
    openai_schema.EmbeddingsRequest,
    inference_schema.InferenceRequest,
)
"""What endpoints read themselves, and OpenAPI would not know of."""
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would send addresses and messages of errors, which hold what was asked; ours are in
`spans`."""
DESCRIPTION = (
    "The same models as `lakesight annotate`, over HTTP: a value here is the value of a row there."
)


def create_app(
    service: Service, sources: SourceSettings = NOWHERE, scraped: scrape.Scrape | None = None
) -> FastAPI:
    """Return the app, without what lies around it (`guard.guarded`). It closes the service.

    `scraped` gathers the metrics of all replicas; this process's own unless given.
    """
    app = FastAPI(
        title="Lakesight",
        version=version(),
        description=DESCRIPTION,
        docs_url=None,  # its pages load code from another host
        redoc_url=None,
        telemetry=NO_TELEMETRY,
        lifespan=_lifespan,
    )
    app.state.service = service
    app.state.sources = Sources(sources)
    app.state.check_amount = service.check_amount
    app.state.fetch = fetching(app.state.sources)
    app.state.scrape = scraped or scrape.alone(service)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.extend([*page.ROUTES, *kinds.ROUTES, *signin.ROUTES])
    problems.install(app)
    document(app, BODIES)
    service.metrics.routes = frozenset(
        route.path for router in ROUTERS for route in router.routes if isinstance(route, Route)
    )
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
        app.state.sources.close()
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
