"""`POST /v1/vqa`: answers to questions about pictures, written or chosen."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lakesight.online.answering import OfPicture, as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.caption import MAX_TOKENS
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.offers import varied
from lakesight.online.problems import RESPONSES
from lakesight.online.shop import Step
from lakesight.online.visit import visit

router = APIRouter(tags=["pictures"], responses=RESPONSES)

COLUMN = "answers"
Words = Annotated[str, Field(min_length=1, max_length=1000)]


class VqaAsk(AskOfPictures):
    """What to ask of every picture."""

    questions: tuple[Words, ...] = Field(default=(), max_length=16, fail_fast=True)
    """Those of the server's settings where there is none."""
    candidates: Annotated[tuple[Words, ...], Field(fail_fast=True)] | None = Field(
        default=None, min_length=1, max_length=1000
    )
    """The answers to choose from, by likelihood; without any, the answer is written."""
    max_new_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    num_beams: int | None = Field(default=None, ge=1, le=8)
    length_penalty: float | None = Field(default=None, ge=-4, le=4)
    normalise: bool | None = None
    """As VQA's evaluation compares answers: small letters, numbers as digits, no articles."""

    def options(self) -> dict[str, Any]:
        """Return what of the model's options is to be otherwise."""
        own = {"model", "images", "questions", "candidates"}
        return self.model_dump(exclude=own, exclude_none=True)


class Answered(BaseModel):
    """One question and its answer."""

    question: str = Field(examples=["What colour is the circle?"])
    answer: str = Field(examples=["red"])
    score: float = Field(examples=[0.8])
    """Its probability: among all texts where it was written, else among the candidates."""


class VqaResult(OfPicture):
    """What was answered about one picture."""

    answers: list[Answered] | None


class VqaAnswer(BaseModel):
    """What was answered, picture by picture in the order in which they came."""

    model: str = Field(examples=["blip2"])
    results: list[VqaResult]


@router.post(
    "/v1/vqa",
    summary="Ask about pictures",
    responses={200: {"model": VqaAnswer}},
    openapi_extra=body(
        VqaAsk,
        {
            "written": {"images": [{"data": EXAMPLE_DATA}], "questions": ["Is it raining?"]},
            "chosen": {
                "images": [{"data": EXAMPLE_DATA}],
                "questions": ["Is it raining?"],
                "candidates": ["yes", "no"],
            },
        },
    ),
)
async def vqa(request: Request) -> Response:
    """Return the answers to each question: the very values that `lakesight annotate` writes."""
    asked, sent = await read(request, VqaAsk)
    async with visit(request) as here:
        here.count(sent)
        here.shop.check_pairs(len(sent), len(asked.questions) * len(asked.candidates or [""]))
        name, spec = here.choose("answer", asked.model)
        said = {"questions": list(asked.questions) or None, "candidates": asked.candidates}
        step = Step(varied(spec, asked.options()), [said] * len(sent))
        found = results(await here.shop.look(sent, [step]), [COLUMN])
    return as_json({"model": name, "results": found})
