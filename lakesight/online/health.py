"""`/healthz` and `/readyz`: whether the process is to be left alone, and whether to be asked."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lakesight.online.answering import as_json
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.service import service_of

router = APIRouter(tags=["health"], responses=RESPONSES)


class Health(BaseModel):
    """How it is."""

    status: str = Field(examples=["ok"])


@router.get("/healthz", summary="Whether it lives", responses={200: {"model": Health}})
async def healthz(request: Request) -> Response:
    """Return 200 while every thread works: else the process wants to be started again."""
    if not service_of(request).is_alive:
        raise Problem("internal", "a thread has ended")
    return as_json({"status": "ok"})


@router.get("/readyz", summary="Whether it answers", responses={200: {"model": Health}})
async def readyz(request: Request) -> Response:
    """Return 200 once the models are loaded: else requests are to go elsewhere."""
    if not service_of(request).is_ready:
        raise Problem("unavailable", "the models are being loaded", headers={"Retry-After": "2"})
    return as_json({"status": "ready"})
