"""`POST /v1/detect`: objects, and on demand their keypoints, captions and a drawn picture."""

import asyncio
import base64
import io
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from PIL import Image as Pillow
from pydantic import BaseModel, ConfigDict, Field

from lakesight.models.base import Image
from lakesight.online.answering import Drawn, OfPicture, as_json, results
from lakesight.online.asking import AskOfPictures, read
from lakesight.online.decoding import SHOWN
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.shop import Looked, Step
from lakesight.online.visit import Visit, visit
from lakesight.paint import paint

router = APIRouter(tags=["pictures"], responses=RESPONSES)

COLUMN = "detections"
JPEG_QUALITY = 90


class DetectAsk(AskOfPictures):
    """Which objects are in the pictures."""

    min_score: float = Field(default=0.0, ge=0, le=1)
    """Only objects that score at least this; the model has a threshold of its own below it."""
    pose: str | None = Field(default=None, max_length=128)
    """A pose model: adds keypoints to the persons that were found."""
    caption_crops: str | None = Field(default=None, max_length=128)
    """A captioning model: adds `crop_captions`, a caption for each object."""
    draw: Literal["jpeg", "png"] | bool = False
    """Add the picture with the objects drawn on it; true is jpeg. With `Accept: image/*`, the
    answer to one picture is that picture alone."""


class Detection(BaseModel):
    """One object."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    box: list[float] = Field(examples=[[12.5, 30.25, 200.0, 310.75]])
    """`x_min, y_min, x_max, y_max` in pixels of the original picture."""
    score: float = Field(examples=[0.93])
    class_id: int = Field(examples=[3])
    label: str = Field(examples=["bus"])
    keypoints: list[list[float]] | None = None
    """`x, y, score` of each, where the model gives them."""
    mask: dict[str, Any] | None = None
    """COCO's run lengths: `size` (height, width) and `counts`, where the model gives them."""
    obb: list[float] | None = None
    """The rotated box: `x, y` of its centre, width, height, radians; where the model gives it."""


class DetectResult(OfPicture):
    """What was found in one picture."""

    detections: list[Detection] | None
    crop_captions: list[str | None] | None = None
    picture: Drawn | None = None


class DetectAnswer(BaseModel):
    """What was found, picture by picture in the order in which they came."""

    model: str = Field(examples=["starter-yolo-detect"])
    results: list[DetectResult]


@router.post(
    "/v1/detect",
    summary="Find objects",
    responses={200: {"model": DetectAnswer}},
    openapi_extra=body(
        DetectAsk,
        {
            "one picture": {"images": [{"data": EXAMPLE_DATA}]},
            "from a bucket, drawn": {
                "model": "starter-yolo-detect",
                "images": [{"uri": "s3://lake/photos/1.jpg"}],
                "min_score": 0.5,
                "draw": "png",
            },
        },
    ),
)
async def detect(request: Request) -> Response:
    """Return the objects of each picture: the very values that `lakesight annotate` writes."""
    asked, sent = await read(request, DetectAsk)
    alone = _accepted(request)
    kind = alone or ("png" if asked.draw == "png" else "jpeg")
    if alone and len(sent) != 1:
        raise Problem("not-acceptable", "a picture as the answer is for one picture")
    async with visit(request) as here:
        here.count(sent)
        name, steps = _steps(here, asked)
        looked = await here.shop.look(sent, steps, [SHOWN] if asked.draw or alone else [])
        _drop_weak(looked, asked.min_score)
        columns = [COLUMN, "crop_captions"] if asked.caption_crops else [COLUMN]
        found = results(looked, columns)
    if alone:
        data = await asyncio.to_thread(drawn, looked[0], kind)
        return Response(data, media_type=f"image/{kind}")
    for one, result in zip(looked, found, strict=True):
        if asked.draw and COLUMN in one.seen:
            result["picture"] = await asyncio.to_thread(_packed, one, kind)
    return as_json({"model": name, "results": found})


def _steps(here: Visit, asked: DetectAsk) -> tuple[str, list[Step]]:
    """Return the detector's name, and what looks at each picture, it first."""
    name, spec = here.choose("detect", asked.model)
    steps = [Step(spec)]
    if asked.pose is not None:
        steps.append(Step(here.choose("pose", asked.pose)[1], needs=COLUMN))
    if asked.caption_crops is not None:
        _, spec = here.choose("caption_crops", asked.caption_crops)
        steps.append(Step(spec, needs=COLUMN))
    return name, steps


def _drop_weak(looked: Sequence[Looked], min_score: float) -> None:
    """Leave out objects that score less, and what was written of them."""
    for one in looked if min_score else ():
        objects = one.seen[COLUMN].value if COLUMN in one.seen else None
        if objects is None:
            continue
        kept = [place for place, found in enumerate(objects) if found["score"] >= min_score]
        for name, seen in one.seen.items():
            if seen.value is not None:
                one.seen[name] = seen._replace(value=[seen.value[place] for place in kept])


def _accepted(request: Request) -> str | None:
    """Return the kind of picture that is asked for in place of JSON."""
    first = request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip()
    return {"image/png": "png", "image/jpeg": "jpeg", "image/*": "jpeg"}.get(first)


def drawn(looked: Looked, kind: str) -> bytes:
    """Return a file of the picture with its objects drawn on it, at most 1024 pixels a side."""
    objects = looked.seen[COLUMN].value or ()
    painted = paint(looked.shown(), objects, size_wh=looked.size_wh)
    return _file(painted, kind)


def _packed(looked: Looked, kind: str) -> dict[str, str]:
    data = base64.b64encode(drawn(looked, kind)).decode("ascii")
    return {"media_type": f"image/{kind}", "data": data}


def _file(image: Image, kind: str) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, kind, quality=JPEG_QUALITY)
    return file.getvalue()
