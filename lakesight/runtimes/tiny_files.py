"""Networks of one layer, written without a converter: what tells whether a runtime really works.

Each takes one picture of `SIDE` x `SIDE` and gives the mean of its pixels, of all or by channel.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lakesight.runtimes.one_by_one import hushed

SIDE = 4


def onnx(path: Path) -> None:
    """Write an ONNX file."""
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0, axes=[1, 2, 3])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "mean", [pixels], [mean])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


NCNN = """7767517
2 2
Input in0 0 1 in0
Pooling out0 1 1 in0 out0 0=1 4=1
"""
"""A magic number, the numbers of layers and blobs, then the layers: a mean over the whole map."""


def ncnn(path: Path) -> None:
    """Write ncnn's two files; there are no weights in the second."""
    path.write_text(NCNN, encoding="ascii")
    path.with_suffix(".bin").write_bytes(b"")


def mnn(path: Path) -> None:
    """Write an MNN file."""
    with hushed():
        from MNN import expr

        pixels = expr.placeholder([1, 3, SIDE, SIDE], expr.NCHW)
        mean = expr.reduce_mean(pixels, [1, 2, 3])
        pixels.name, mean.name = "in0", "out0"
        expr.save([mean], str(path))


def tflite(path: Path) -> None:
    """Write a LiteRT file, by the schema that comes with LiteRT."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    pool = schema.Pool2DOptionsT()
    pool.padding = schema.Padding.VALID
    pool.strideW = pool.strideH = pool.filterWidth = pool.filterHeight = SIDE
    layer = schema.OperatorT()
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0], [1]
    layer.builtinOptionsType, layer.builtinOptions = schema.BuiltinOptions.Pool2DOptions, pool
    kind = schema.OperatorCodeT()
    kind.builtinCode = kind.deprecatedBuiltinCode = schema.BuiltinOperator.AVERAGE_POOL_2D
    graph = schema.SubGraphT()
    graph.inputs, graph.outputs, graph.operators = [0], [1], [layer]
    shapes = {"in0": [1, SIDE, SIDE, 3], "out0": [1, 1, 1, 3]}
    graph.tensors = [_tensor(schema, name, shape) for name, shape in shapes.items()]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [kind], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _tensor(schema: Any, name: str, shape: list[int]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name, shape
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
    return tensor


WRITERS: dict[str, Callable[[Path], None]] = {
    ".onnx": onnx,
    ".param": ncnn,
    ".mnn": mnn,
    ".tflite": tflite,
}
"""By the file's ending; all but .tflite take N, C, H, W."""
