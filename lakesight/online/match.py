"""`POST /v1/match`: whether pictures and texts belong together."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lakesight.errors import UserError
from lakesight.models.base import Image
from lakesight.online.answering import OfPicture, as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.embed import MAX_TEXTS, Text
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.values import short
from lakesight.online.visit import visit

router = APIRouter(tags=["pictures"], responses=RESPONSES)

Scores = npt.NDArray[np.float32]


@runtime_checkable
class Comparer(Protocol):
    """A model that holds pictures against texts (`models.image_text.ImageText`)."""

    def similarity(self, views: Sequence[Image], texts: Sequence[str]) -> Scores:
        """Return cosines `(B, T)`."""
        ...

    def match(self, images: Sequence[Image], texts: Sequence[str]) -> Scores:
        """Return the probability `(B,)` that each pair belongs together."""
        ...


class MatchAsk(AskOfPictures):
    """Pictures and texts: each picture is held against each text."""

    texts: tuple[Text, ...] = Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True)


class MatchResult(OfPicture):
    """One picture against every text, in their order."""

    similarity: list[float] | None = Field(examples=[[0.31, 0.18]])
    """The cosine of the angle between the vectors (ITC); of BLIP-2 that of its best query."""
    match: list[float] | None = Field(default=None, examples=[[0.97, 0.02]])
    """The probability that they belong together (ITM), where the model looks at both at once."""


class MatchAnswer(BaseModel):
    """Pictures against texts."""

    model: str = Field(examples=["blip2-itm"])
    texts: list[str]
    results: list[MatchResult]


@router.post(
    "/v1/match",
    summary="Hold pictures against texts",
    responses={200: {"model": MatchAnswer}},
    openapi_extra=body(
        MatchAsk,
        {"one picture": {"images": [{"data": EXAMPLE_DATA}], "texts": ["a red bus", "a cat"]}},
    ),
)
async def match(request: Request) -> Response:
    """Return similarity, and where the model has a head for it the probability of a match."""
    asked, sent = await read(request, MatchAsk)
    async with visit(request) as here:
        here.count(sent)
        here.shop.check_pairs(len(sent), len(asked.texts))
        name, spec = here.choose("embed", asked.model)
        view = spec.card.view
        assert view is not None, "catalog.spec refuses a card without a view"
        looked = await here.shop.look(sent, [], [view])
        found = results(looked, ["similarity", "match"])
        views = [one.views[view] for one in looked if one.views]
        async with here.shop.using(spec) as opened:
            model = opened.model
            if not isinstance(model, Comparer):
                raise Problem("invalid", f"{name} sees pictures, and reads no text")
            scores = await opened.call(lambda: compare(model, views, asked.texts))
    rows = iter(scores)
    for one, result in zip(looked, found, strict=True):
        result.update(next(rows) if one.views else {})
    return as_json({"model": name, "texts": asked.texts, "results": found})


def compare(model: Comparer, views: Sequence[Image], texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return `similarity` and `match` of each picture with each text; null without a head for it.

    The vision tower runs once: the model finds its own last answer for the same views.
    """
    cosines = short(model.similarity(views, texts)).tolist()  # (B, T)
    try:
        chances = [model.match(views, [text] * len(views)) for text in texts]
        matches: list[Any] = short(np.stack(chances, axis=1)).tolist()
    except UserError:
        matches = [None] * len(views)
    return [
        {"similarity": one, "match": other} for one, other in zip(cosines, matches, strict=True)
    ]
