"""Tensors of the Open Inference Protocol: pictures that come as them, and objects that leave so.

`raw` is what follows the JSON, by the extension for binary data. Objects leave as one list over all
pictures, with their `counts`, since no tensor is ragged.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.online.asking import unpacked
from lakesight.online.inference_schema import IMAGE, RequestTensor
from lakesight.online.problems import Problem
from lakesight.online.shop import Sent

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


def described(fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a detector gives whose objects have these fields (`TensorMetadata`)."""
    extras = [(one, *EXTRAS[one]) for one in fields if one in EXTRAS]
    return [
        {"name": name, "datatype": kind, "shape": shape}
        for name, kind, shape in (*OUTPUTS, *extras)
    ]


def files(tensor: RequestTensor, raw: bytes | None) -> list[Sent]:
    """Return the encoded files of a BYTES tensor; Problem where they are none."""
    sent = _in_base64(tensor) if raw is None else [Sent(one) for one in _elements(raw)]
    if tensor.shape != [len(sent)]:
        raise Problem("invalid", f"the shape is {tensor.shape}, of {len(sent)} values")
    return sent


def _in_base64(tensor: RequestTensor) -> list[Sent]:
    try:
        data = list(_flat(tensor.data))
    except TypeError:
        raise Problem("invalid", "expected lists of texts, or texts") from None
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


def pixels(tensor: RequestTensor, raw: bytes | None) -> npt.NDArray[np.uint8]:
    """Return the pictures of a UINT8 tensor, `(N, height, width, 3)`; Problem for what is none."""
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
