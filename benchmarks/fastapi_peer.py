"""The peer of `benchmarks.serve`: a plain FastAPI app over ONNX Runtime, as its guides show it.

    FOLDER=… KIND=detect THREADS=1 REQUESTS=2 python -m uvicorn benchmarks.fastapi_peer:app

One picture a request, looked at by itself: decoded and drawn by OpenCV, which lets go of the
interpreter as ONNX Runtime does, in FastAPI's own threads, of which REQUESTS work at once. It gives
what ours gives but for the last pixels, as OpenCV resizes in another way.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pyarrow as pa
from anyio import to_thread
from fastapi import Body, FastAPI, Response
from pydantic_core import to_json

from lakesight.models import catalog
from lakesight.models.yolo.model import reader_of
from lakesight.models.yolo.reading import YoloOptions

FOLDER = Path(os.environ["FOLDER"])
KIND = os.environ["KIND"]
CARD = catalog.resolve(str(FOLDER))
cv2.setNumThreads(1)


def _session(name: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["THREADS"])
    path = FOLDER / "exports" / "onnx" / name
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _rgb(data: bytes) -> npt.NDArray[np.uint8]:
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    rgb: npt.NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


class Detector:
    """A YOLO. How its tensors are read is ours: it is not what is compared here."""

    def __init__(self) -> None:
        self.session = _session("model.onnx")
        self.reader = reader_of(CARD, FOLDER, YoloOptions())
        self.inputs = self.session.get_inputs()[0].name
        self.outputs = [one.name for one in self.session.get_outputs()]

    def __call__(self, data: bytes) -> dict[str, Any]:
        """Return what is in a picture."""
        pixels = _rgb(data)
        assert CARD.view is not None
        side, (height, width) = CARD.view.width, pixels.shape[:2]
        scale = side / max(height, width)
        new_wh = round(width * scale), round(height * scale)
        drawn = cv2.resize(pixels, new_wh, interpolation=cv2.INTER_LINEAR)
        left, top = (side - new_wh[0]) // 2, (side - new_wh[1]) // 2
        canvas = np.full((side, side, 3), CARD.view.pad, np.uint8)
        canvas[top : top + new_wh[1], left : left + new_wh[0]] = drawn
        found = self.session.run(None, {self.inputs: _planes(canvas) / np.float32(255)})
        tensors = dict(zip(self.outputs, found, strict=True))
        sizes = pa.table({"width": [width], "height": [height]})
        return {"detections": self.reader.read(tensors, sizes)[0].as_py()}


class Embedder:
    """The vision tower and the queries of a BLIP-2: a vector for each query."""

    def __init__(self) -> None:
        self.vision, self.queries = _session("vision.onnx"), _session("queries.onnx")
        pixels = json.loads((FOLDER / "preprocessor_config.json").read_bytes())
        self.mean, self.std = (
            np.array(pixels[name], np.float32)[:, None, None]
            for name in ("image_mean", "image_std")
        )

    def __call__(self, data: bytes) -> dict[str, Any]:
        """Return what is in a picture."""
        assert CARD.view is not None
        size_wh = CARD.view.width, CARD.view.height
        drawn: Any = cv2.resize(_rgb(data), size_wh, interpolation=cv2.INTER_CUBIC)
        planes = (_planes(drawn) / np.float32(255) - self.mean) / self.std
        (seen,) = self.vision.run(None, {"pixels": planes})
        _, vectors = self.queries.run(None, {"features": seen})
        return {"embeddings": vectors[0].tolist()}


def _planes(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return `(H, W, 3)` as `(1, 3, H, W)`."""
    planes: npt.NDArray[np.float32] = np.ascontiguousarray(
        pixels.transpose(2, 0, 1)[None], np.float32
    )
    return planes


@asynccontextmanager
async def _limited(_: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = int(os.environ["REQUESTS"])
    yield


look = Detector() if KIND == "detect" else Embedder()
app = FastAPI(lifespan=_limited)


@app.post("/look")
def answer(data: bytes = Body(media_type="image/jpeg")) -> Response:
    """Return what is in a picture; FastAPI calls this in one of its threads."""
    return Response(to_json(look(data)), media_type="application/json")
