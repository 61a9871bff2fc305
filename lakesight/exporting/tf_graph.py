"""An ONNX graph of a YOLO, said again in TensorFlow's operations.

TensorFlow convolves on a CPU in the order N, H, W, C only: feature maps are held in that order from
the first convolution to the last, and everything else as ONNX has it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from onnx import helper, numpy_helper

from lakesight.errors import UserError

TO_MAP, FROM_MAP = (0, 2, 3, 1), (0, 3, 1, 2)
"""From N, C, H, W to N, H, W, C, and back."""

Constants = Sequence[Any]
Attributes = Mapping[str, Any]


class Value(NamedTuple):
    """A tensor on its way; a map is in the order N, H, W, C."""

    tensor: Any
    is_map: bool = False

    def plain(self) -> Any:
        """Return it in the order of ONNX."""
        return tf.transpose(self.tensor, FROM_MAP) if self.is_map else self.tensor

    def map(self) -> Any:
        """Return it as a map."""
        return self.tensor if self.is_map else tf.transpose(self.tensor, TO_MAP)


def run(graph: Any, images: Any) -> dict[str, Any]:
    """Return the outputs of an ONNX graph for a map, made of TensorFlow's operations."""
    values = {each.name: Value(numpy_helper.to_array(each)) for each in graph.initializer}
    values[graph.input[0].name] = Value(images, is_map=True)
    for node in graph.node:
        found = _done(node, [values[name] if name else Value(None) for name in node.input])
        values.update(zip(node.output, found, strict=True))
    return {each.name: values[each.name].plain() for each in graph.output}


def _done(node: Any, inputs: Sequence[Value]) -> list[Value]:
    """Return the outputs of a node: as maps where it works on maps, else as ONNX has them."""
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    first = inputs[0]
    if node.op_type in ON_MAPS:
        constants = [each.tensor for each in inputs[1:]]
        return [Value(ON_MAPS[node.op_type](first.map(), constants, attributes), is_map=True)]
    alike = all(each.is_map for each in inputs)
    if alike and node.op_type in ("Concat", "Split") and attributes["axis"] == 1:
        found = ANYWHERE[node.op_type]([each.tensor for each in inputs], {**attributes, "axis": 3})
    elif alike and node.op_type in ("Add", "Mul", "Sigmoid"):
        found = ANYWHERE[node.op_type]([each.tensor for each in inputs], attributes)
    elif node.op_type in ANYWHERE:
        alike = False
        found = ANYWHERE[node.op_type]([each.plain() for each in inputs], attributes)
    else:
        raise UserError(f"there is no {node.op_type} for TensorFlow here: export to ONNX instead")
    return [Value(each, alike) for each in (found if isinstance(found, list) else [found])]


def _conv(x: Any, constants: Constants, attributes: Attributes) -> Any:
    _check_plain(attributes)
    weights, bias = constants
    padding = [[0, 0], *_sides(attributes.get("pads", (0, 0, 0, 0))), [0, 0]]
    kernel = weights.transpose(2, 3, 1, 0)
    return tf.nn.conv2d(x, kernel, attributes.get("strides", (1, 1)), padding) + bias


def _check_plain(attributes: Attributes) -> None:
    """Raise UserError for a convolution or pooling that is computed otherwise than here."""
    plain = {"dilations": (1, 1), "group": 1, "auto_pad": b"NOTSET", "ceil_mode": 0}
    for name, wanted in plain.items():
        found = attributes.get(name, wanted)
        if (tuple(found) if isinstance(wanted, tuple) else found) != wanted:
            raise UserError(f"a {name} of {found} is not known here: export to ONNX instead")


def _conv_transpose(x: Any, constants: Constants, attributes: Attributes) -> Any:
    _check_plain(attributes)
    weights, bias = constants
    strides = attributes["strides"]
    if any(attributes.get("pads", ())) or list(attributes["kernel_shape"]) != list(strides):
        raise UserError("only transposed convolutions without overlap are known here")
    height, width = (side * step for side, step in zip(x.shape[1:3], strides, strict=True))
    kernel = weights.transpose(2, 3, 1, 0)
    shape = (1, height, width, weights.shape[1])
    return tf.nn.conv2d_transpose(x, kernel, shape, strides, "VALID") + bias


def _max_pool(x: Any, _: Constants, attributes: Attributes) -> Any:
    _check_plain(attributes)
    padding = [[0, 0], *_sides(attributes.get("pads", (0, 0, 0, 0))), [0, 0]]
    padded = tf.pad(x, padding, constant_values=float(np.finfo(np.float32).min))
    return tf.nn.max_pool2d(padded, attributes["kernel_shape"], attributes["strides"], "VALID")


def _upsample(x: Any, constants: Constants, attributes: Attributes) -> Any:
    if attributes["mode"] != b"nearest":
        raise UserError("only the nearest neighbour is known here")
    rows, columns = (int(times) for times in constants[1][2:])
    return tf.repeat(tf.repeat(x, rows, axis=1), columns, axis=2)


def _sides(pads: Sequence[int]) -> list[list[int]]:
    """Return ONNX's top, left, bottom, right as TensorFlow's pairs."""
    top, left, bottom, right = pads
    return [[top, bottom], [left, right]]


def _slice(inputs: Sequence[Any], _: Attributes) -> Any:
    x, starts, ends, axes, steps = inputs
    cut = [slice(None)] * len(x.shape)
    for axis, *where in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(*(int(np.clip(each, -(2**31), 2**31 - 1)) for each in where))
    return x[tuple(cut)]


def _gemm(inputs: Sequence[Any], attributes: Attributes) -> Any:
    x, weights, bias = inputs
    return tf.matmul(x, weights, transpose_b=bool(attributes["transB"])) + bias


def _plain(name: str) -> Callable[..., Any]:
    """Return an operation of TensorFlow's that takes the same inputs."""

    def done(inputs: Sequence[Any], _: Attributes) -> Any:
        return getattr(tf, name)(*inputs)

    return done


def _along(name: str) -> Callable[..., Any]:
    """Return a reduction over the axes of the second input."""

    def done(inputs: Sequence[Any], attributes: Attributes) -> Any:
        axes = [int(axis) for axis in inputs[1]]
        return getattr(tf, name)(inputs[0], axes, keepdims=bool(attributes["keepdims"]))

    return done


ON_MAPS: dict[str, Callable[[Any, Constants, Attributes], Any]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "Resize": _upsample,
}
ANYWHERE: dict[str, Callable[[Sequence[Any], Attributes], Any]] = {
    "Add": _plain("add"),
    "Concat": lambda inputs, known: tf.concat(list(inputs), known["axis"]),
    "Cos": _plain("cos"),
    "Div": _plain("divide"),
    "Gemm": _gemm,
    "Mul": _plain("multiply"),
    "ReduceMean": _along("reduce_mean"),
    "ReduceSum": _along("reduce_sum"),
    "Reshape": _plain("reshape"),
    "Sigmoid": _plain("sigmoid"),
    "Sin": _plain("sin"),
    "Slice": _slice,
    "Softmax": lambda inputs, known: tf.nn.softmax(inputs[0], known["axis"]),
    "Split": lambda inputs, known: tf.split(inputs[0], known["num_outputs"], known["axis"]),
    "Sub": _plain("subtract"),
    "Transpose": lambda inputs, known: tf.transpose(inputs[0], known["perm"]),
}
