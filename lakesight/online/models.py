"""`GET /v1/models`: what is served. The list has the form of OpenAI's, and says more."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lakesight.models.base import Licences
from lakesight.online.answering import as_json
from lakesight.online.finder import Finder
from lakesight.online.offers import Served
from lakesight.online.problems import RESPONSES
from lakesight.online.visit import Visit, visit

router = APIRouter(tags=["models"], responses=RESPONSES)

CREATED = 0
"""OpenAI's list wants a time; a card holds none."""


class ModelInfo(BaseModel):
    """One model."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str = Field(examples=["starter-yolo-detect"])
    """What requests call it."""
    object: Literal["model"] = "model"
    created: int = CREATED
    owned_by: str = "lakesight"
    kinds: list[str] = Field(examples=[["detect"]])
    """What it can be asked for."""
    card: str
    """The name in its card."""
    sha256: str
    """Of the weights: all files of the card together."""
    labels: list[str] | str | None = None
    """The names of its classes by id, or of the file that lists them."""
    licences: Licences
    provenance: str
    metrics: dict[str, float]
    loaded: bool
    """Whether it is in memory now; else the first request loads it."""
    runs_on: str | None = Field(examples=["openvino on cpu"])


class IndexInfo(BaseModel):
    """One index."""

    id: str = Field(examples=["photos"])
    build: str
    count: int = Field(examples=[10000])
    model: str | None
    """The name in the card of the model that made it."""
    columns: list[str]
    can_rerank: bool
    reads_text: bool | None
    """Whether it can be searched by text; null where its model is not in memory."""


class ModelList(BaseModel):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]
    indexes: list[IndexInfo]


@router.get("/v1/models", summary="What is served", responses={200: {"model": ModelList}})
async def models(request: Request) -> Response:
    """Return the models and the indexes that can be asked."""
    async with visit(request) as here:
        data = [described(here, served) for served in here.models.values()]
        indexes = [_index(here, name, finder) for name, finder in here.indexes.items()]
    return as_json({"object": "list", "data": data, "indexes": indexes})


@router.get("/v1/models/{name}", summary="One model", responses={200: {"model": ModelInfo}})
async def model(request: Request, name: str) -> Response:
    """Return what is known of one model."""
    async with visit(request) as here:
        return as_json(described(here, here.served(name)))


def described(here: Visit, served: Served) -> dict[str, Any]:
    """Return what is known of a model."""
    card = served.main.card
    opened = [here.shop.engine.opened(spec) for spec in served.specs.values()]
    places = [one.model.runs_on for one in opened if one is not None]
    return {
        "id": served.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "lakesight",
        "kinds": list(served.specs),
        "card": card.name,
        "sha256": card.checkpoint,
        "labels": card.labels,
        "licences": card.licences.model_dump(),
        "provenance": card.provenance,
        "metrics": card.metrics,
        "loaded": here.shop.engine.is_loaded(served.main),
        "runs_on": next(iter(places), None),
    }


def _index(here: Visit, name: str, finder: Finder) -> dict[str, Any]:
    opened = here.shop.engine.opened(finder.model) if finder.model else None
    return {
        "id": name,
        "build": finder.build_id,
        "count": finder.count,
        "model": finder.model.card.name if finder.model else None,
        "columns": finder.schema.names,
        "can_rerank": finder.can_rerank,
        "reads_text": opened.reads_text if opened else None,
    }
