"""The Open Inference Protocol, version 2, for detectors: `/v2/…`.

As https://github.com/kserve/open-inference-protocol describes it, and its extension for binary data
on the way in. A picture comes as `BYTES`, an encoded file, in JSON in base64; or as `UINT8`, pixels
`(height, width, 3)`, RGB; both with a leading axis of pictures.
"""

import asyncio
import re
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from lakesight.media.resize import draw
from lakesight.models.base import Image, ModelSpec
from lakesight.online.answering import as_json, results
from lakesight.online.asking import checked, json_of, object_of
from lakesight.online.detect import COLUMN
from lakesight.online.documents import EXAMPLE_DATA, body, version
from lakesight.online.health import readyz
from lakesight.online.inference_schema import (
    IMAGE,
    InferenceRequest,
    InferenceResponse,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    RequestTensor,
    ServerMetadata,
)
from lakesight.online.inference_tensors import described, files, pixels, tensors
from lakesight.online.opened import gravest
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.service import service_of
from lakesight.online.shop import Sent, Step
from lakesight.online.visit import Visit, visit

router = APIRouter(prefix="/v2", tags=["inference protocol"], responses=RESPONSES)

HEADER_LENGTH = "inference-header-content-length"


@router.get("", summary="The server", responses={200: {"model": ServerMetadata}})
async def server() -> Response:
    """Return the server's name and version."""
    return as_json(
        {"name": "lakesight", "version": version(), "extensions": ["binary_tensor_data"]}
    )


@router.get("/health/live", summary="Whether it lives", responses={200: {"model": Live}})
async def live(request: Request) -> Response:
    """Return whether the process works."""
    if not service_of(request).is_alive:
        raise Problem("unavailable", "a thread has ended")
    return as_json({"live": True})


@router.get("/health/ready", summary="Whether it answers", responses={200: {"model": Ready}})
async def ready(request: Request) -> Response:
    """Return whether models are loaded."""
    await readyz(request)
    return as_json({"ready": True})


@router.get(
    "/models/{name}", summary="A detector's tensors", responses={200: {"model": ModelMetadata}}
)
async def metadata(request: Request, name: str) -> Response:
    """Return what a detector takes and gives."""
    async with visit(request) as here:
        _, spec = here.choose("detect", name)
        fields = await _fields(here, spec)
    return as_json(
        {
            "name": name,
            "versions": [version_of(spec)],
            "platform": f"lakesight_{spec.card.family}",
            "inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1]}],
            "outputs": described(fields),
        }
    )


@router.get(
    "/models/{name}/ready",
    summary="Whether a detector answers",
    responses={200: {"model": ModelReady}},
)
async def model_ready(request: Request, name: str) -> Response:
    """Return whether a detector can be asked; one that is not in memory is loaded when it is."""
    async with visit(request) as here:
        here.choose("detect", name)
    return as_json({"name": name, "ready": True})


@router.post(
    "/models/{name}/infer",
    summary="Find objects",
    responses={200: {"model": InferenceResponse}},
    openapi_extra=body(
        InferenceRequest,
        {
            "an encoded file": {
                "inputs": [
                    {"name": IMAGE, "datatype": "BYTES", "shape": [1], "data": [EXAMPLE_DATA]}
                ]
            }
        },
    ),
)
async def infer(request: Request, name: str) -> Response:
    """Return the objects of pictures as tensors: the very values of `/v1/detect`."""
    asked, raw = await _asked(request)
    tensor = asked.inputs[0]
    if tensor.name != IMAGE:
        raise Problem("invalid", f"expected the input {IMAGE!r}, got {tensor.name!r}")
    async with visit(request) as here:
        _, spec = here.choose("detect", name)
        if tensor.datatype == "BYTES":
            objects = await _of_files(here, spec, tensor, raw)
        else:
            objects = await _of_pixels(here, spec, tensor, raw)
        fields = await _fields(here, spec)
    found = await asyncio.to_thread(tensors, objects, fields)
    wanted = [one.name for one in asked.outputs] if asked.outputs else list(found)
    if unknown := [one for one in wanted if one not in found]:
        raise Problem("invalid", f"there is no output {unknown[0]!r}; there are {', '.join(found)}")
    answer: dict[str, Any] = {"model_name": name, "model_version": version_of(spec)}
    if asked.id is not None:
        answer["id"] = asked.id
    return as_json({**answer, "outputs": [found[one] for one in wanted]})


async def _fields(here: Visit, spec: ModelSpec) -> list[str]:
    """Return what each object has; the model is loaded where it is not."""
    async with here.shop.using(spec) as opened:
        return [one.name for one in opened.model.output.type.value_type]


def version_of(spec: ModelSpec) -> str:
    """Return what tells the weights: the beginning of their digest."""
    return spec.card.checkpoint[:12]


async def _asked(request: Request) -> tuple[InferenceRequest, bytes | None]:
    """Return the request, and the bytes of its tensor where they follow the JSON."""
    length = request.headers.get(HEADER_LENGTH)
    if length is None:
        return await json_of(request, InferenceRequest), None
    whole = await request.body()
    if not re.fullmatch(r"[0-9]{1,20}", length) or int(length) > len(whole):
        raise Problem("bad-request", f"{HEADER_LENGTH} is {length!r}, of {len(whole)} bytes")
    asked = checked(InferenceRequest, object_of(whole[: int(length)]))
    raw = whole[int(length) :]
    told = asked.inputs[0].parameters.get("binary_data_size")
    if told != len(raw):
        raise Problem("invalid", f"binary_data_size is {told!r}, and {len(raw)} bytes follow")
    return asked, raw


async def _of_files(
    here: Visit, spec: ModelSpec, tensor: RequestTensor, raw: bytes | None
) -> list[Any]:
    sent = files(tensor, raw)
    here.count(sent)
    looked = await here.shop.look(sent, [Step(spec)])
    found = results(looked, [COLUMN])
    if errors := [one.error for one in looked if one.error]:
        worst = gravest(errors)
        kind = "internal" if worst.ours else "unreadable-picture"
        raise Problem(kind, worst.message, members={"results": found})
    return [one[COLUMN] for one in found]


async def _of_pixels(
    here: Visit, spec: ModelSpec, tensor: RequestTensor, raw: bytes | None
) -> list[Any]:
    given = await asyncio.to_thread(pixels, tensor, raw)
    here.count([Sent()] * len(given))
    view = spec.card.view
    assert view is not None, "catalog.spec refuses a card without a view"
    height, width = given.shape[1:3]

    def drawn(one: Image) -> Image:
        out = np.empty((view.height, view.width, 3), np.uint8)
        draw(one, (width, height), view, out)
        return out

    views = await asyncio.to_thread(lambda: [drawn(one) for one in given])
    seen = await asyncio.gather(*(here.shop.see(spec, one, width, height) for one in views))
    if errors := [one.error for one in seen if one.error]:
        worst = gravest(errors)
        raise Problem("internal" if worst.ours else "invalid", worst.message)
    return [one.value for one in seen]
