"""`POST /v1/classify`: the likeliest classes of pictures."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lakesight.online.answering import OfPicture, as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.problems import RESPONSES
from lakesight.online.shop import Step
from lakesight.online.visit import visit

router = APIRouter(tags=["pictures"], responses=RESPONSES)

COLUMN = "classes"


class ClassifyAsk(AskOfPictures):
    """What the pictures show."""

    top_k: int | None = Field(default=None, ge=1, le=1000)
    """So many classes at most; of the model's own number of best ones."""


class Class(BaseModel):
    """One class."""

    class_id: int = Field(examples=[2])
    label: str = Field(examples=["cup"])
    score: float = Field(examples=[0.87])


class ClassifyResult(OfPicture):
    """What one picture shows, the likeliest class first."""

    classes: list[Class] | None


class ClassifyAnswer(BaseModel):
    """What the pictures show, in the order in which they came."""

    model: str = Field(examples=["starter-yolo-classify"])
    results: list[ClassifyResult]


@router.post(
    "/v1/classify",
    summary="Tell what pictures show",
    responses={200: {"model": ClassifyAnswer}},
    openapi_extra=body(
        ClassifyAsk, {"one picture": {"images": [{"data": EXAMPLE_DATA}], "top_k": 1}}
    ),
)
async def classify(request: Request) -> Response:
    """Return the classes of each picture: the very values that `lakesight annotate` writes."""
    asked, sent = await read(request, ClassifyAsk)
    async with visit(request) as here:
        here.count(sent)
        name, spec = here.choose("classify", asked.model)
        found = results(await here.shop.look(sent, [Step(spec)]), [COLUMN])
    for one in found:
        if one[COLUMN] is not None:
            one[COLUMN] = one[COLUMN][: asked.top_k]
    return as_json({"model": name, "results": found})
