"""YOLO detectors as ONNX files, by the contract of their output tensor.

Nothing here knows a YOLO version: three layouts of the output cover the exports in use.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.models.artefact import read_labels, weights_file
from lakesight.models.base import Frozen, Image, ModelCard, RuntimeName
from lakesight.models.detection import Found, NmsOptions, sizes, to_arrow
from lakesight.runtimes.base import Network, place
from lakesight.runtimes.choose import open_network
from lakesight.schemas import detection_type

Head = Literal["v5", "v8", "end2end"]
Output = npt.NDArray[np.float32]


class YoloContract(Frozen):
    """The tensors of a YOLO file; boxes are in pixels of its input."""

    head: Head
    """v5: `(1, anchors, 5 + classes)`, a row is centre, size, objectness, classes. v8:
    `(1, 4 + classes, anchors)`, a column is centre, size, classes. end2end: `(1, N, 6)`, a row is
    two corners, score, class, and NMS is done."""
    output: str
    """Name of the output tensor."""
    scale: float = 255.0
    """What the network divides pixels by before its first layer."""


class YoloOnnx:
    """Boxes from a YOLO ONNX file."""

    Options = NmsOptions
    concurrent = True

    def __init__(
        self, card: ModelCard, folder: Path, options: NmsOptions, runtime: RuntimeName
    ) -> None:
        assert card.view is not None
        self.card = card
        self.view = card.view
        self.output = pa.field("detections", detection_type())
        self._options = options
        self._labels = read_labels(card, folder)
        self._contract = YoloContract.model_validate(card.contract)
        network = Network(
            width=self.view.width,
            height=self.view.height,
            layout="NCHW",
            scale=(self._contract.scale,) * 3,
            outputs=(self._contract.output,),
        )
        self._runtime = open_network(weights_file(card, folder), network, options, runtime)
        self.runs_on = place(self._runtime)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the objects of every picture, as `schemas.detection_type()`."""
        if not views:
            return to_arrow([], self._labels)
        outputs: Output = self._runtime.infer(views)[self._contract.output]
        found = [
            decode(output, self._contract.head, self._options).in_original(self.view, *size)
            for output, size in zip(outputs, sizes(rows), strict=True)
        ]
        return to_arrow(found, self._labels)


def decode(output: Output, head: Head, options: NmsOptions) -> Found:
    """Return one picture's objects in view pixels, by falling score, suppressed.

    An anchor is at most one object: of its likeliest class.
    """
    match head:
        case "v5":
            return _v5(output, options.score_threshold).suppressed(options)
        case "v8":
            return _v8(output, options.score_threshold).suppressed(options)
        case "end2end":
            return _end2end(output).best(options)


def _v5(output: Output, threshold: float) -> Found:
    """Read `(anchors, 5 + classes)`; a score is objectness times class."""
    rows = output[output[:, 4] >= threshold]  # a product is at most its first factor
    scores = rows[:, 5:] * rows[:, 4:5]
    class_ids = scores.argmax(axis=1)
    best = scores[np.arange(len(rows)), class_ids]
    found = Found(corners(rows[:, :4]), best, class_ids.astype(np.int32))
    return found.take(np.flatnonzero(best >= threshold))


def _v8(output: Output, threshold: float) -> Found:
    """Read `(4 + classes, anchors)`."""
    best = output[4:].max(axis=0)
    seen = np.flatnonzero(best >= threshold)
    class_ids = output[4:, seen].argmax(axis=0).astype(np.int32)
    return Found(corners(output[:4, seen].T), best[seen], class_ids)


def _end2end(output: Output) -> Found:
    """Read `(N, 6)`; the graph fills up with rows of score 0, and classes come as floats."""
    rows = output[output[:, 4] > 0]
    return Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))


def corners(boxes_cxcywh: Output) -> Output:
    """Return `(N, 4)` boxes as corners from centres and sizes."""
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
