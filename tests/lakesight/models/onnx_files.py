"""Small real ONNX networks whose answers are known, written node by node.

`write_yolo` sees colours: every cell of a picture (8, 16 and 32 pixels a side) scores red, green
and blue by its mean, so that any picture's boxes can be told without the network.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
STRIDES = (8, 16, 32)
COLOURS = ("red", "green", "blue")
ANCHORS = ((1.0, 1.0), (1.1, 0.9), (0.5, 0.5))
"""v5 has three boxes a cell: its size times the first number, with the second as objectness."""

Floats = npt.NDArray[np.float32]


def cells(strides: tuple[int, ...] = STRIDES, side: int = SIDE) -> Floats:
    """Return the `(cells, 4)` boxes of all cells as centre and size, row by row."""
    boxes = []
    for stride in strides:
        centres = np.arange(stride / 2, side, stride)
        y, x = np.meshgrid(centres, centres, indexing="ij")
        size = np.full(x.size, stride)
        boxes.append(np.stack([x.ravel(), y.ravel(), size, size], axis=1))
    return np.concatenate(boxes).astype(np.float32)


def objectness() -> Floats:
    """Return v5's `(3 * cells, 1)` objectness."""
    return np.repeat(np.array([seen for _, seen in ANCHORS], np.float32), len(cells()))[:, None]


def anchors() -> Floats:
    """Return v5's `(3 * cells, 4)` boxes."""
    return np.concatenate([cells() * (1, 1, size, size) for size, _ in ANCHORS]).astype(np.float32)


class Graph:
    """Nodes and constants, one after another."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        name = attributes.pop("output", f"{operation}_{len(self.nodes)}")
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return str(name)

    def save(
        self,
        path: Path,
        inputs: dict[str, list[Any]],
        outputs: dict[str, list[Any]],
        metadata: dict[str, str] | None = None,
    ) -> Path:
        graph = helper.make_graph(
            self.nodes, path.stem, _infos(inputs), _infos(outputs), self.constants
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def _infos(shapes: dict[str, list[Any]]) -> list[Any]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]


def write_yolo(
    path: Path, head: str, batch: int | str = 1, metadata: dict[str, str] | None = None
) -> Path:
    """Write the colour detector with one of the three heads."""
    graph = Graph()
    pooled = []
    for stride in STRIDES:
        mean = graph.add("AveragePool", "images", kernel_shape=[stride] * 2, strides=[stride] * 2)
        pooled.append(graph.add("Reshape", mean, graph.constant([0, 3, -1], np.int64)))
    scores = graph.add("Concat", *pooled, axis=2)  # (B, 3, cells)
    shape = {"v5": _v5, "v8": _v8, "end2end": _end2end}[head](graph, scores)
    inputs = {"images": [batch, 3, SIDE, SIDE]}
    return graph.save(path, inputs, {"output0": [batch, *shape]}, metadata)


def _batched(graph: Graph, boxes: Floats, like: str) -> str:
    """Return constant boxes `(1, N, M)` repeated over the batch of `like`."""
    shape = graph.add("Shape", like, end=1)
    ones = graph.constant([1, 1], np.int64)
    target = graph.add("Concat", shape, ones, axis=0)
    return graph.add("Expand", graph.constant(boxes[None]), target)


def _v8(graph: Graph, scores: str) -> list[int]:
    boxes = _batched(graph, cells().T, scores)
    graph.add("Concat", boxes, scores, axis=1, output="output0")
    return [7, len(cells())]


def _v5(graph: Graph, scores: str) -> list[int]:
    rows = graph.add("Transpose", scores, perm=[0, 2, 1])
    tripled = graph.add("Concat", rows, rows, rows, axis=1)
    boxes = _batched(graph, np.concatenate([anchors(), objectness()], axis=1), scores)
    graph.add("Concat", boxes, tripled, axis=2, output="output0")
    return [3 * len(cells()), 8]


def _end2end(graph: Graph, scores: str) -> list[int]:
    """Every cell once, by its best class, sorted: as a graph with NMS inside returns them."""
    rows = graph.add("Transpose", scores, perm=[0, 2, 1])
    best = graph.add("ReduceMax", rows, axes=[2], keepdims=1)
    classes = graph.add("Cast", graph.add("ArgMax", rows, axis=2, keepdims=1), to=TensorProto.FLOAT)
    boxes = cells()
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    graph.add("Concat", _batched(graph, corners, scores), best, classes, axis=2, output="output0")
    return [len(cells()), 6]


def write_classifier(path: Path, weights: Floats, side: int = 8) -> Path:
    """Write pooled colours, one fully connected layer, and a softmax: `(classes, 3)` weights."""
    graph = Graph()
    pooled = graph.add("GlobalAveragePool", "images")
    flat = graph.add("Flatten", pooled, output="pooled")
    logits = graph.add("Gemm", flat, graph.constant(weights), transB=1, output="logits")
    graph.add("Softmax", logits, axis=1, output="scores")
    return graph.save(path, {"images": ["N", 3, side, side]}, {"scores": ["N", len(weights)]})


def write_convolution(path: Path, weights: Floats, side: int, external: str | None = None) -> Path:
    """Write one convolution with a ReLU; with `external`, its weights lie in that file."""
    graph = Graph()
    kernel = graph.constant(weights)
    graph.add("Relu", graph.add("Conv", "images", kernel, output="raw"), output="seen")
    shape = ["N", len(weights), side - weights.shape[2] + 1, side - weights.shape[3] + 1]
    graph.save(path, {"images": ["N", 3, side, side]}, {"seen": shape})
    if external is not None:
        model = onnx.load(path)
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    return path
