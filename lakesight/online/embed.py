"""`POST /v1/embed`: vectors of pictures, or of texts in the same space."""

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lakesight.models.base import ModelSpec
from lakesight.models.columns import column_of
from lakesight.online.answering import OfPicture, as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.shop import Step
from lakesight.online.values import as_vectors, short
from lakesight.online.visit import Visit, visit

router = APIRouter(tags=["pictures"], responses=RESPONSES)

COLUMN = "embedding"
MAX_TEXTS = 256
MAX_CHARACTERS = 8192
Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class EmbedAsk(AskOfPictures):
    """Pictures or texts, and not both."""

    texts: tuple[Text, ...] = Field(default=(), max_length=MAX_TEXTS, fail_fast=True)
    """For a model that reads text, such as a CLIP."""
    encoding: Literal["float", "base64"] = "float"
    """base64: the vectors as little-endian float32, a quarter of the bytes."""


class EmbedResult(OfPicture):
    """The vector of one picture, or the vectors where the model has several a picture."""

    embedding: list[float] | str | None = None
    embeddings: list[list[float]] | str | None = None


class TextResult(BaseModel):
    """The vector of one text."""

    text: str
    embedding: list[float] | str


class EmbedAnswer(BaseModel):
    """Vectors of length 1, in the order in which pictures or texts came."""

    model: str = Field(examples=["efficientnet-lite3"])
    results: list[EmbedResult] | list[TextResult]


@router.post(
    "/v1/embed",
    summary="Embed pictures or texts",
    responses={200: {"model": EmbedAnswer}},
    openapi_extra=body(
        EmbedAsk,
        {
            "a picture": {"images": [{"data": EXAMPLE_DATA}]},
            "texts": {"texts": ["a red bus", "a dog in the snow"]},
        },
    ),
)
async def embed(request: Request) -> Response:
    """Return vectors: of pictures the very values that `lakesight annotate` writes."""
    asked, sent = await read(request, EmbedAsk)
    if bool(sent) == bool(asked.texts):
        raise Problem("invalid", "expected pictures or texts, and not both")
    async with visit(request) as here:
        name, spec = here.choose("embed", asked.model)
        found: list[dict[str, Any]]
        if asked.texts:
            vectors = await embed_texts(here, spec, asked.texts)
            pairs = zip(asked.texts, vectors, strict=True)
            found = [{"text": text, COLUMN: vector} for text, vector in pairs]
        else:
            here.count(sent)
            looked = await here.shop.look(sent, [Step(spec)])
            found = results(looked, [column_of(spec)])
    if asked.encoding == "base64":
        found = [{key: _packed(key, value) for key, value in one.items()} for one in found]
    return as_json({"model": name, "results": found})


async def embed_texts(here: Visit, spec: ModelSpec, texts: tuple[str, ...]) -> list[list[float]]:
    """Return the vector of each text; Problem for a model that reads none."""
    async with here.shop.using(spec) as opened:
        vectors = await opened.embed_texts(texts)
    found: list[list[float]] = short(vectors).tolist()
    return found


def packed(values: Any) -> str:
    """Return numbers as little-endian float32 in base64."""
    return base64.b64encode(as_vectors(values).astype("<f4").tobytes()).decode("ascii")


def _packed(key: str, value: Any) -> Any:
    return packed(value) if key in ("embedding", "embeddings", "features") and value else value
