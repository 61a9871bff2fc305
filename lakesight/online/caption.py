"""`POST /v1/caption`: captions of pictures, from a prompt or freely."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lakesight.online.answering import OfPicture, as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.offers import varied
from lakesight.online.problems import RESPONSES
from lakesight.online.shop import Step
from lakesight.online.visit import visit

router = APIRouter(tags=["pictures"], responses=RESPONSES)

MAX_TOKENS = 256


class CaptionAsk(AskOfPictures):
    """What to write; what is left out is as the server's settings have it for the model."""

    prompt: str | None = Field(default=None, min_length=1, max_length=2000)
    """Words to start from (or, for FLAN-T5, to answer); the caption does not repeat them."""
    max_new_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    num_captions: int | None = Field(default=None, ge=1, le=8)
    """More than 1 gives `captions`, best first, each with its score, in place of `caption`."""
    num_beams: int | None = Field(default=None, ge=1, le=8)
    length_penalty: float | None = Field(default=None, ge=-4, le=4)
    do_sample: bool | None = None
    """Draw tokens in place of searching for the likeliest."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    temperature: float | None = Field(default=None, gt=0, le=4)
    seed: int | None = Field(default=None, ge=0, lt=2**63)

    def options(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of the model's options, which are `known`, is to be otherwise."""
        own = {"model", "images", "prompt"}
        options = self.model_dump(exclude=own, exclude_none=True)
        if self.num_captions is not None and self.num_beams is None:
            options["num_beams"] = max(known["num_beams"], self.num_captions)
        return options


class Caption(BaseModel):
    """One of the n best captions."""

    text: str
    score: float | None
    prompt: str | None


class CaptionResult(OfPicture):
    """What was written about one picture."""

    caption: str | None = Field(default=None, examples=["a red circle on a green square"])
    captions: list[Caption] | None = None


class CaptionAnswer(BaseModel):
    """What was written, picture by picture in the order in which they came."""

    model: str = Field(examples=["blip2"])
    results: list[CaptionResult]


@router.post(
    "/v1/caption",
    summary="Describe pictures",
    responses={200: {"model": CaptionAnswer}},
    openapi_extra=body(
        CaptionAsk,
        {
            "one picture": {"images": [{"data": EXAMPLE_DATA}]},
            "the three best": {"images": [{"data": EXAMPLE_DATA}], "num_captions": 3},
        },
    ),
)
async def caption(request: Request) -> Response:
    """Return a caption of each picture: the very values that `lakesight annotate` writes."""
    asked, sent = await read(request, CaptionAsk)
    async with visit(request) as here:
        here.count(sent)
        name, spec = here.choose("caption", asked.model)
        spec = varied(spec, asked.options(spec.options))
        column = "captions" if spec.options["num_captions"] > 1 else "caption"
        words = [{"prompt": asked.prompt}] * len(sent)
        found = results(await here.shop.look(sent, [Step(spec, words)]), [column])
    return as_json({"model": name, "results": found})
