"""`/healthz` and `/readyz`: whether the process is to be left alone, and whether to be asked."""

from fastapi import APIRouter, Request, Response

from lakesight.online.answering import as_json
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.service import service_of

router = APIRouter(tags=["health"], responses=RESPONSES)


@router.get("/healthz", summary="Whether it lives")
async def healthz(request: Request) -> Response:
    """Return 200 while every thread works: else the process wants to be started again."""
    if not service_of(request).is_alive:
        raise Problem("internal", "a thread has ended")
    return as_json({"status": "ok"})


@router.get("/readyz", summary="Whether it answers")
async def readyz(request: Request) -> Response:
    """Return 200 once the models are loaded: else requests are to go elsewhere."""
    if not service_of(request).is_ready:
        raise Problem("unavailable", "the models are being loaded", headers={"Retry-After": "2"})
    return as_json({"status": "ready"})
