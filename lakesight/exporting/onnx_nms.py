"""ONNX with non-maximum suppression inside, for programs that want objects and no more work.

`output_0` is `(1, N, 6 + E)`: a row is two corners in pixels of the input, score, class, and the E
values that the task adds; rows of score 0 fill up. `output_1` are a segment model's prototypes.
Shapes: C classes, A anchors, N the most objects of a picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.exporting.base import Source, Written
from lakesight.exporting.onnx import static
from lakesight.models.detection import NmsOptions
from lakesight.models.yolo.decode import Candidates
from lakesight.models.yolo.reading import Reader

MAIN = "model.onnx"
RAW = "nms_raw"
"""The tensor that NMS reads: `output_0` of a file without it."""


def convert(source: Source, folder: Path) -> Written:
    """Write a file that takes one picture of the view's size, its thresholds those of `source`."""
    import onnx

    model = onnx.load(static(source))
    _suppress(model.graph, source.contract.num_classes, source.nms)
    onnx.checker.check_model(model)
    onnx.save(model, folder / MAIN)
    return Written(MAIN, suppressed=True)


class SuppressedReader(Reader):
    """Reads the tensors of such a file."""

    def kept(self, predictions: npt.NDArray[np.float32]) -> list[Candidates]:
        """Return every picture's objects, in view pixels, by falling score."""
        return [_candidates(rows[rows[:, 4] > 0]) for rows in predictions]


def _candidates(rows: npt.NDArray[np.float32]) -> Candidates:
    low, high = rows[:, :2], rows[:, 2:4]
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    return Candidates(boxes, rows[:, 4], rows[:, 5].astype(np.int32), rows[:, 6:])


class _Graph:
    """Adds nodes behind a graph's first output."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.count = 0

    def constant(self, value: npt.ArrayLike, dtype: Any = np.int64) -> str:
        from onnx import numpy_helper

        name = self._name("constant")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, num_outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [self._name(operation) for _ in range(num_outputs)]
        self.graph.node.append(helper.make_node(operation, inputs, names, **attributes))
        return names[0] if num_outputs == 1 else names

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        names = self.add("Split", value, self.constant(sizes), num_outputs=len(sizes), axis=axis)
        return [names] if len(sizes) == 1 else names

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"nms_{kind}_{self.count}"


def _suppress(graph: Any, num_classes: int, options: NmsOptions) -> None:
    """Put NMS behind `output_0`, and what it gives in its place."""
    from onnx import TensorProto, helper

    whole = graph.output[0]
    _, num_values, num_anchors = (one.dim_value for one in whole.type.tensor_type.shape.dim)
    _rename(graph, whole.name, RAW)
    num_extra = num_values - 4 - num_classes
    num_rows = min(options.max_detections, num_anchors)
    nodes = _Graph(graph)
    rows = _rows(nodes, RAW, (num_classes, num_extra), num_rows, options)
    graph.node.append(helper.make_node("Identity", [rows], [whole.name]))
    shape = [1, num_rows, 6 + num_extra]
    graph.output[0].CopyFrom(helper.make_tensor_value_info(whole.name, TensorProto.FLOAT, shape))


def _rows(
    nodes: _Graph, raw: str, widths: tuple[int, int], num_rows: int, options: NmsOptions
) -> str:
    """Return the `(1, num_rows, 6 + E)` objects of `(1, 4 + C + E, A)` predictions."""
    num_classes, num_extra = widths
    boxes, scores = nodes.split(raw, [4, num_classes, *([num_extra] if num_extra else [])], 1)[:2]
    best = nodes.add("ReduceMax", scores, nodes.constant([1]), keepdims=1)  # (1, 1, A)
    label = nodes.add("ArgMax", scores, axis=1, keepdims=1)
    # an anchor is one object at most: of its likeliest class
    numbers = nodes.constant(np.arange(num_classes).reshape(1, -1, 1))
    below_any = nodes.constant(-1, np.float32)
    own = nodes.add("Where", nodes.add("Equal", numbers, label), scores, below_any)
    kept = _kept_scores(nodes, boxes, own, best, options)
    top, places = nodes.add(
        "TopK", kept, nodes.constant([num_rows]), num_outputs=2, axis=0, sorted=1
    )  # (N,), (N,)
    by_anchor = nodes.add("Transpose", nodes.add("Squeeze", raw, nodes.constant([0])), perm=[1, 0])
    chosen = nodes.add("Gather", by_anchor, places, axis=0)  # (N, 4 + C + E)
    centre, size, _, *extra = nodes.split(
        chosen, [2, 2, num_classes, *([num_extra] if num_extra else [])], 1
    )
    half = nodes.add("Div", size, nodes.constant(2, np.float32))
    classes = nodes.add("Gather", _flat(nodes, label), places, axis=0)
    parts = [
        nodes.add("Sub", centre, half),
        nodes.add("Add", centre, half),
        _column(nodes, top),
        _column(nodes, nodes.add("Cast", classes, to=1)),
        *extra,
    ]
    joined = nodes.add("Concat", *parts, axis=1)
    seen = nodes.add("Greater", _column(nodes, top), _zero(nodes))
    filled = nodes.add("Where", seen, joined, _zero(nodes))
    return str(nodes.add("Unsqueeze", filled, nodes.constant([0])))


def _kept_scores(nodes: _Graph, boxes: str, own: str, best: str, options: NmsOptions) -> str:
    """Return `(A,)` scores, 0 where an anchor is suppressed or below the threshold."""
    # ONNX keeps what is above its threshold, we what reaches it
    below = np.nextafter(np.float32(options.score_threshold), np.float32(-1))
    chosen = nodes.add(
        "NonMaxSuppression",
        nodes.add("Transpose", boxes, perm=[0, 2, 1]),
        own,
        nodes.constant([options.max_detections]),
        nodes.constant([options.iou_threshold], np.float32),
        nodes.constant([below], np.float32),
        center_point_box=1,
    )  # (kept, 3): picture, class, anchor
    anchors = nodes.add("Gather", chosen, nodes.constant(2), axis=1)
    flat = _flat(nodes, best)
    nothing = nodes.add("Mul", flat, _zero(nodes))
    updates = nodes.add("Gather", flat, anchors, axis=0)
    return str(nodes.add("ScatterElements", nothing, anchors, updates, axis=0))


def _zero(nodes: _Graph) -> str:
    return nodes.constant(0, np.float32)


def _flat(nodes: _Graph, value: str) -> str:
    return str(nodes.add("Reshape", value, nodes.constant([-1])))


def _column(nodes: _Graph, value: str) -> str:
    return str(nodes.add("Unsqueeze", value, nodes.constant([1])))


def _rename(graph: Any, old: str, new: str) -> None:
    """Let a tensor have another name wherever it is made or read."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
