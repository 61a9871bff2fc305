"""The Open Inference Protocol, version 2, for detectors: `/v2/…`.

As https://github.com/kserve/open-inference-protocol describes it, and its extension for binary data
on the way in. A picture comes as `BYTES`, an encoded file, in JSON in base64; or as `UINT8`, pixels
`(height, width, 3)`, RGB; both with a leading axis of pictures. Objects leave as one list over all
pictures, with their `counts`, since no tensor is ragged.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lakesight.media.resize import draw
from lakesight.models.base import Image, ModelSpec
from lakesight.online.answering import as_json, results
from lakesight.online.asking import checked, json_of, object_of, unpacked
from lakesight.online.detect import COLUMN
from lakesight.online.documents import EXAMPLE_DATA, body, version
from lakesight.online.health import readyz
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.shop import Sent, Step
from lakesight.online.visit import Visit, service_of, visit

router = APIRouter(prefix="/v2", tags=["inference protocol"], responses=RESPONSES)

IMAGE = "image"
OUTPUTS: tuple[tuple[str, str, list[int]], ...] = (
    ("counts", "INT32", [-1]),
    ("boxes", "FP32", [-1, 4]),
    ("scores", "FP32", [-1]),
    ("class_ids", "INT32", [-1]),
    ("labels", "BYTES", [-1]),
)
"""Name, type and shape of what every detector gives."""
EXTRAS: dict[str, tuple[str, list[int]]] = {
    "keypoints": ("FP32", [-1, -1, 3]),
    "obb": ("FP32", [-1, 5]),
    "mask": ("BYTES", [-1]),
}
"""Of what some detectors give beside it, by the field of an object."""
MAX_SIDE = 8192
HEADER_LENGTH = "inference-header-content-length"


class RequestTensor(BaseModel):
    """One tensor that is sent."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str = Field(examples=[IMAGE])
    datatype: Literal["BYTES", "UINT8"]
    shape: list[int] = Field(examples=[[1]], min_length=1, max_length=4, fail_fast=True)
    """`[N]` of BYTES; `[N, height, width, 3]` of UINT8."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] = Field(default_factory=list)
    """Nested as the shape says, or flat."""


class RequestedOutput(BaseModel):
    """One tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferenceRequest(BaseModel):
    """What is to be looked at."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    id: str | None = Field(default=None, max_length=256)
    """Comes back in the answer."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[RequestTensor] = Field(min_length=1, max_length=1, fail_fast=True)
    outputs: Annotated[list[RequestedOutput], Field(fail_fast=True)] | None = None
    """All that there are unless given."""


class ResponseTensor(BaseModel):
    """One tensor of an answer."""

    name: str = Field(examples=["scores"])
    shape: list[int] = Field(examples=[[2]])
    datatype: str = Field(examples=["FP32"])
    data: list[Any] = Field(examples=[[0.93, 0.71]])


class InferenceResponse(BaseModel):
    """What was found."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseTensor]


class TensorMetadata(BaseModel):
    """What a tensor is like; -1 where its size varies."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


@router.get("", summary="The server")
async def server() -> Response:
    """Return the server's name and version."""
    return as_json(
        {"name": "lakesight", "version": version(), "extensions": ["binary_tensor_data"]}
    )


@router.get("/health/live", summary="Whether it lives")
async def live(request: Request) -> Response:
    """Return whether the process works."""
    if not service_of(request).is_alive:
        raise Problem("unavailable", "a thread has ended")
    return as_json({"live": True})


@router.get("/health/ready", summary="Whether it answers")
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
        opened = here.shop.engine.opened(spec)
        fields = [] if opened is None else [one.name for one in opened.model.output.type.value_type]
    outputs = [*OUTPUTS, *((one, *EXTRAS[one]) for one in fields if one in EXTRAS)]
    return as_json(
        {
            "name": name,
            "versions": [version_of(spec)],
            "platform": f"lakesight_{spec.card.family}",
            "inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": one, "datatype": kind, "shape": shape} for one, kind, shape in outputs
            ],
        }
    )


@router.get("/models/{name}/ready", summary="Whether a detector answers")
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
        opened = here.shop.engine.opened(spec)
        assert opened is not None
        fields = [one.name for one in opened.model.output.type.value_type]
    found = await asyncio.to_thread(tensors, objects, fields)
    wanted = [one.name for one in asked.outputs] if asked.outputs else list(found)
    if unknown := [one for one in wanted if one not in found]:
        raise Problem("invalid", f"there is no output {unknown[0]!r}; there are {', '.join(found)}")
    answer: dict[str, Any] = {"model_name": name, "model_version": version_of(spec)}
    if asked.id is not None:
        answer["id"] = asked.id
    return as_json({**answer, "outputs": [found[one] for one in wanted]})


def version_of(spec: ModelSpec) -> str:
    """Return what tells the weights: the beginning of their digest."""
    return spec.card.checkpoint[:12]


async def _asked(request: Request) -> tuple[InferenceRequest, bytes | None]:
    """Return the request, and the bytes of its tensor where they follow the JSON."""
    length = request.headers.get(HEADER_LENGTH)
    if length is None:
        return await json_of(request, InferenceRequest), None
    whole = await request.body()
    if not length.isdecimal() or int(length) > len(whole):
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
    sent = _files(tensor) if raw is None else [Sent(one) for one in _elements(raw)]
    if tensor.shape != [len(sent)]:
        raise Problem("invalid", f"the shape is {tensor.shape}, of {len(sent)} values")
    here.count(sent)
    looked = await here.shop.look(sent, [Step(spec)])
    found = results(looked, [COLUMN])
    if errors := [one["error"] for one in found if one["error"]]:
        raise Problem("unreadable-picture", errors[0]["message"], members={"results": found})
    return [one[COLUMN] for one in found]


def _files(tensor: RequestTensor) -> list[Sent]:
    data = list(_flat(tensor.data))
    if not all(isinstance(one, str) for one in data):
        raise Problem("invalid", "expected texts in base64")
    return [unpacked(one) for one in data]


def _elements(raw: bytes) -> Iterator[bytes]:
    """Yield the elements of binary BYTES: each after its length in 4 bytes, little-endian."""
    start = 0
    while start < len(raw):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if end > len(raw):
            raise Problem("invalid", "an element is longer than the bytes that follow")
        yield raw[start + 4 : end]
        start = end


async def _of_pixels(
    here: Visit, spec: ModelSpec, tensor: RequestTensor, raw: bytes | None
) -> list[Any]:
    pixels = await asyncio.to_thread(_pixels, tensor, raw)
    here.count([Sent()] * len(pixels))
    view = spec.card.view
    assert view is not None, "catalog.spec refuses a card without a view"
    height, width = pixels.shape[1:3]

    def drawn(one: Image) -> Image:
        out = np.empty((view.height, view.width, 3), np.uint8)
        draw(one, (width, height), view, out)
        return out

    views = await asyncio.to_thread(lambda: [drawn(one) for one in pixels])
    seen = await asyncio.gather(*(here.shop.see(spec, one, width, height) for one in views))
    if errors := [one.error for one in seen if one.error]:
        raise Problem("invalid", errors[0]["message"])
    return [one.value for one in seen]


def _pixels(tensor: RequestTensor, raw: bytes | None) -> npt.NDArray[np.uint8]:
    """Return pictures `(N, height, width, 3)`; Problem where they are none."""
    shape = tensor.shape
    if len(shape) != 4 or shape[3] != 3 or not all(0 < side <= MAX_SIDE for side in shape):
        raise Problem("invalid", f"expected pixels [N, height, width, 3], got {shape}")
    try:
        if raw is not None:
            return np.frombuffer(raw, np.uint8).reshape(shape)
        flat = np.array(list(_flat(tensor.data)))
        if flat.dtype != np.int64 or flat.min(initial=0) < 0 or flat.max(initial=0) > 255:
            raise ValueError("pixels are whole numbers of 0 to 255")
        return flat.astype(np.uint8).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise Problem("invalid", f"the data of {IMAGE!r} does not fit {shape}: {error}") from None


def _flat(data: Sequence[Any]) -> Any:
    """Yield what lies in lists, however they are nested."""
    if data and isinstance(data[0], list):
        return itertools.chain.from_iterable(map(_flat, data))
    return iter(data)


def tensors(objects: Sequence[Sequence[dict[str, Any]]], fields: Sequence[str]) -> dict[str, Any]:
    """Return the output tensors by name, of the objects of each picture.

    `fields` are those that each object has. Keypoints that an object lacks are zeros.
    """
    every = [one for found in objects for one in found]
    count = len(every)
    found = {
        "counts": ([len(one) for one in objects], "INT32", [len(objects)]),
        "boxes": ([side for one in every for side in one["box"]], "FP32", [count, 4]),
        "scores": ([one["score"] for one in every], "FP32", [count]),
        "class_ids": ([one["class_id"] for one in every], "INT32", [count]),
        "labels": ([one["label"] for one in every], "BYTES", [count]),
    }
    if "keypoints" in fields:
        num = max((len(one["keypoints"] or ()) for one in every), default=0)
        rows = [one["keypoints"] or [[0.0] * 3] * num for one in every]
        flat = [value for row in rows for point in row for value in point]
        found["keypoints"] = (flat, "FP32", [count, num, 3])
    if "obb" in fields:
        found["obb"] = ([value for one in every for value in one["obb"]], "FP32", [count, 5])
    if "mask" in fields:
        found["mask"] = ([one["mask"]["counts"] for one in every], "BYTES", [count])
    return {
        name: {"name": name, "shape": shape, "datatype": kind, "data": data}
        for name, (data, kind, shape) in found.items()
    }
