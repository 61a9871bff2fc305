"""`GET /v1/rows`: rows of a published index without a question, one by its id, and its picture."""

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import simplejpeg
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from lakesight.errors import UserError
from lakesight.models.base import Image
from lakesight.online.answering import as_json
from lakesight.online.bodies import hold
from lakesight.online.decoding import SHOWN, SMALL
from lakesight.online.finder import Finder
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.search import rows as plain_rows
from lakesight.online.service import service_of
from lakesight.online.shop import Sent
from lakesight.online.sources import SourceError, Sources
from lakesight.online.visit import visit

router = APIRouter(tags=["search"], responses=RESPONSES)

JPEG_QUALITY = 85
SIZES = {"small": SMALL, "large": SHOWN}
CACHED = {"Cache-Control": "private, max-age=3600", "Vary": "Authorization, Cookie"}
"""Of a picture: whoever is signed in otherwise asks again."""

Index = Annotated[str | None, Query(max_length=128)]
RowId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class Row(BaseModel, extra="allow"):
    """One row, with all its columns but vectors."""

    id: str
    uri: str | None = Field(default=None, examples=["s3://lake/photos/1.jpg"])
    """Of a picture; an index of texts has none."""


class RowsAnswer(BaseModel):
    """Some rows of an index."""

    index: str = Field(examples=["photos"])
    build: str
    count: int = Field(examples=[10000])
    """Rows of the index."""
    results: list[Row]


@router.get("/v1/rows", summary="Browse an index", responses={200: {"model": RowsAnswer}})
async def browse(
    request: Request,
    index: Index = None,
    k: Annotated[int, Query(ge=1, le=1000)] = 10,
    where: Annotated[str | None, Query(min_length=1, max_length=4000)] = None,
) -> Response:
    """Return rows spread evenly over an index, or over those that fit an SQL condition."""
    find = service_of(request).find
    async with visit(request) as here:
        name, finder = here.index(index)
        try:
            found = await find(lambda: plain_rows(finder.browse(k, where)))
        except UserError as error:
            raise Problem("invalid", str(error)) from error
    answer = {"index": name, "build": finder.build_id, "count": finder.count}
    return as_json({**answer, "results": found})


@router.get("/v1/rows/{id}", summary="One row", responses={200: {"model": Row}})
async def row(request: Request, id: RowId, index: Index = None) -> Response:  # noqa: A002
    """Return a row of an index: the very values that `lakesight annotate` wrote."""
    async with visit(request) as here:
        _, finder = here.index(index)
        return as_json(plain_rows(await _row(request, finder, id))[0])


@router.get(
    "/v1/rows/{id}/picture",
    summary="The picture of a row",
    responses={200: {"content": {"image/jpeg": {}}, "description": "The picture, upright"}},
)
async def picture(
    request: Request,
    id: RowId,  # noqa: A002
    index: Index = None,
    size: Literal["small", "large"] = "small",
) -> Response:
    """Return the picture that a row was made from: 448 or 1024 pixels a side at most."""
    etag = f'"{id}-{size}"'
    async with visit(request) as here:
        _, finder = here.index(index)
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={**CACHED, "ETag": etag})
        data = await _object(request, await _row(request, finder, id))
        hold(len(data))
        view = SIZES[size]
        (looked,) = await here.shop.look([Sent(data)], [], [view])
        if looked.error:
            raise Problem("not-found", f"no picture is shown: {looked.error.message}")
        encoded = await asyncio.to_thread(lambda: _jpeg(looked.shown(view)))
    headers = {**CACHED, "ETag": etag}
    return Response(encoded, media_type="image/jpeg", headers=headers)


async def _row(request: Request, finder: Finder, row_id: str) -> pa.Table:
    try:
        return await service_of(request).find(partial(finder.row, row_id))
    except UserError as error:
        raise Problem("not-found", str(error)) from error


async def _object(request: Request, found: pa.Table) -> bytes:
    """Return the bytes that a row was made from."""
    sources: Sources = request.app.state.sources
    if not {"uri", "etag"} <= set(found.column_names):
        raise Problem("not-found", "the rows of this index are no pictures")
    uri, etag = (found[name][0].as_py() for name in ("uri", "etag"))
    try:
        return await sources.of_row(uri, etag)
    except SourceError as error:
        raise Problem("not-found", f"no picture is shown: {error}") from None


def _jpeg(pixels: Image) -> bytes:
    whole: Any = np.ascontiguousarray(pixels)
    return bytes(simplejpeg.encode_jpeg(whole, JPEG_QUALITY, colorsubsampling="420"))
