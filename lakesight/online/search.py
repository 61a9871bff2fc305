"""`POST /v1/search`: the rows of a published index most like a text, a picture, or a row."""

import time
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, model_validator

from lakesight.errors import UserError
from lakesight.models.base import Image, ImageEncoder, ModelSpec
from lakesight.online.answering import as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.embed import Text
from lakesight.online.finder import Finder
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.service import service_of
from lakesight.online.shop import Sent, Step
from lakesight.online.values import as_vectors, plain
from lakesight.online.visit import Visit, visit
from lakesight.ranking import reranked, reranked_texts, without

router = APIRouter(tags=["search"], responses=RESPONSES)

Vectors = npt.NDArray[np.float32]


class Query(NamedTuple):
    """What is looked for."""

    vectors: Vectors
    """`(V, D)`."""
    own_id: str | None = None
    """Of a row of the index, which is not to find itself."""
    view: Image | None = None
    """The picture as the model sees it, where texts are to be found by it."""


class SearchAsk(AskOfPictures):
    """A text, one picture, or the id of a row; and which rows may be found."""

    index: str | None = Field(default=None, max_length=128)
    """As `/v1/models` lists it; the first unless given."""
    text: Text | None = None
    """Where the model that made the index reads text."""
    id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """A row's; it is not among its own results."""
    k: int = Field(default=10, ge=1, le=1000)
    """How many rows."""
    where: str | None = Field(default=None, min_length=1, max_length=4000)
    """SQL condition on the row, in DuckDB's words; applied first, so that k rows come if k fit."""
    rerank: int | None = Field(default=None, ge=1, le=1000)
    """Look at so many of the best pictures and the text together (ITM), or of the best texts and
    the picture, and rank them by whether they match, too; for an index of pictures that kept
    features, or one of texts."""

    @model_validator(mode="after")
    def _no_model(self) -> Self:
        if self.model is not None:
            raise ValueError("an index is searched by the model that made it: leave out model")
        return self


class Hit(BaseModel, extra="allow"):
    """One row, with all its columns but vectors."""

    rank: int = Field(examples=[1])
    score: float = Field(examples=[0.83])
    """The cosine of the angle between the vectors."""
    match: float | None = None
    """The probability that picture and text belong together, with `rerank`."""
    id: str
    uri: str | None = Field(default=None, examples=["s3://lake/photos/1.jpg"])
    """Of a picture; an index of texts has none."""


class SearchAnswer(BaseModel):
    """The rows that were found, best first."""

    index: str = Field(examples=["photos"])
    build: str
    """Of the index that was searched."""
    count: int = Field(examples=[10000])
    """Rows of the index."""
    ms: float = Field(examples=[3.2])
    """How long the search took, without what it took to embed the query."""
    results: list[Hit]


@router.post(
    "/v1/search",
    summary="Search an index",
    responses={200: {"model": SearchAnswer}},
    openapi_extra=body(
        SearchAsk,
        {
            "by text": {"text": "a red bus", "k": 20},
            "by picture": {"images": [{"data": EXAMPLE_DATA}]},
            "more like this": {
                "id": "0123456789abcdef0123456789abcdef",
                "where": "list_contains([d.label for d in detections], 'dog')",
            },
        },
    ),
)
async def search(request: Request) -> Response:
    """Return rows of a published index: the very values that `lakesight annotate` wrote."""
    asked, sent = await read(request, SearchAsk)
    _check_one_query(asked, sent)
    find = service_of(request).find
    async with visit(request) as here:
        name, finder = here.index(asked.index)
        _check_rerank(finder, asked, sent)
        if asked.id is not None:
            query = await find(partial(_by_id, finder, asked.id))
        else:
            query = await _embedded(here, finder, asked, sent)
        start = time.perf_counter()
        hits = await find(lambda: _found(finder, query, asked))
        if asked.rerank is not None:
            best, others = hits[: asked.rerank], hits[asked.rerank :]
            hits = await _reranked(here, finder, asked.text, query.view, best) + others
        seconds = time.perf_counter() - start
        service_of(request).follower.on_search(name, seconds)
    answer = {"index": name, "build": finder.build_id, "count": finder.count}
    ms = round(seconds * 1000, 3)
    return as_json({**answer, "ms": ms, "results": hits[: asked.k]})


def _check_one_query(asked: SearchAsk, sent: list[Sent]) -> None:
    num_queries = len(sent) + (asked.text is not None) + (asked.id is not None)
    if num_queries != 1:
        raise Problem("invalid", f"expected one of text, id and a picture, got {num_queries}")


def _check_rerank(finder: Finder, asked: SearchAsk, sent: list[Sent]) -> None:
    if asked.rerank is None:
        return
    if finder.holds == "pictures" and asked.text is None:
        raise Problem("invalid", "rerank looks at pictures and a text together: search by a text")
    if finder.holds == "texts" and not sent:
        raise Problem("invalid", "rerank looks at a picture and texts: search by a picture")


def _by_id(finder: Finder, row_id: str) -> Query:
    try:
        return Query(finder.vectors(row_id), row_id)
    except UserError as error:
        raise Problem("not-found", str(error)) from error


async def _embedded(here: Visit, finder: Finder, asked: SearchAsk, sent: list[Sent]) -> Query:
    """Return the vectors of a text or a picture, by the model that made the index."""
    spec = _model(finder)
    if asked.text is not None:
        async with here.shop.using(spec) as opened:
            return Query(await opened.embed_texts([asked.text]))
    if finder.holds == "texts":
        return await _by_picture(here, spec, sent)
    (looked,) = await here.shop.look(sent, [Step(spec)])
    results([looked], [])  # says why, where it has no vector
    (seen,) = looked.seen.values()
    vectors = as_vectors(seen.value)
    return Query(vectors.reshape(-1, vectors.shape[-1]))


async def _by_picture(here: Visit, spec: ModelSpec, sent: list[Sent]) -> Query:
    """Return every vector of a picture: a text is found by the one that is nearest."""
    view = spec.card.view
    assert view is not None, "catalog.spec refuses a card without a view"
    (looked,) = await here.shop.look(sent, [], [view])
    results([looked], [])  # says why, where it cannot be read
    drawn = looked.views[view]
    async with here.shop.using(spec) as opened:
        model = opened.model
        assert isinstance(model, ImageEncoder), "which was checked when the texts were indexed"
        (vectors,) = await opened.call(lambda: model.embed_images([drawn]))
    return Query(vectors, view=drawn)


def _model(finder: Finder) -> ModelSpec:
    if finder.model is None:
        raise Problem("invalid", "this index does not say which model made it: search by id")
    return finder.model


def _found(finder: Finder, query: Query, asked: SearchAsk) -> list[dict[str, Any]]:
    # one more, since the row itself may be among them
    k = max(asked.k + (query.own_id is not None), asked.rerank or 0)
    try:
        found = finder.search(query.vectors[None], k, asked.where)
    except UserError as error:
        raise Problem("invalid", str(error)) from error
    return without(rows(found.drop_columns(["query"])), query.own_id)


async def _reranked(
    here: Visit, finder: Finder, text: str | None, view: Image | None, best: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    async with here.shop.using(_model(finder)) as opened:
        model = opened.model
        if view is not None:
            return await opened.call(lambda: reranked_texts(model, view, best))
        assert text is not None, "which `_check_rerank` saw to"
        return await opened.call(lambda: reranked(finder.features, model, text, best))


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as plain values."""
    columns = [plain(table[name].combine_chunks()) for name in table.column_names]
    return [
        dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)
    ]
