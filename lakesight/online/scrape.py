"""`GET /metrics`: what Prometheus reads, of every process that serves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from lakesight.online.access import caller_of
from lakesight.online.metrics import exposition
from lakesight.online.problems import RESPONSES
from lakesight.online.service import Service

router = APIRouter(tags=["health"], responses=RESPONSES)

Counted = Mapping[str, Sequence[Metric]]
"""What each process has counted, by the name of its replica."""
Scrape = Callable[[], Awaitable[Counted]]
ALONE = "0"
"""What a process is called that has no others beside it."""


def alone(service: Service) -> Scrape:
    """Return the scrape of a service that is in one process."""

    async def scrape() -> Counted:
        return {ALONE: service.counted()}

    return scrape


@router.get("/metrics", summary="What Prometheus reads", response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    """Return the metrics of every replica, in Prometheus' text format 0.0.4."""
    caller_of(request).require_metrics()
    scrape: Scrape = request.app.state.scrape
    text = await asyncio.to_thread(exposition, await scrape())
    return PlainTextResponse(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
