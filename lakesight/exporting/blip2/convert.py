"""BLIP-2's graphs to ONNX files, and the language model's weights to 8 or 4 bits."""

import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lakesight.exporting.base import quietly
from lakesight.exporting.blip2.plan import Part
from lakesight.models.base import Precision
from lakesight.runtimes.onnx_graph import external_files

OPSET = 18
BLOCK = 32
"""Weights that share a scale."""
ROUND = 4
"""The `accuracy_level` of ONNX Runtime's MatMulNBits that multiplies in int8."""
BITS: dict[Precision, int] = {"int8": 8, "int4": 4}


def convert(model: Any, plan: Sequence[Part], folder: Path) -> None:
    """Write every graph of a transformers model into a folder, in f32."""
    with quietly(), _eager(model):
        for part in plan:
            write(part, folder / part.file)


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Let attention be what graphs are drawn of: products and a softmax, masked by a sum."""
    before = model.config._attn_implementation  # noqa: SLF001
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def write(part: Part, path: Path) -> None:
    """Write one graph, constants folded, weights of any size in `NAME.data` beside it."""
    with quietly():
        program: Any = torch.onnx.export(
            part.module.eval(),
            tuple(part.inputs.values()),
            input_names=list(part.inputs),
            output_names=part.outputs,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=_open_sides(part),
            verbose=False,
        )
    for node in program.model.graph:
        node.metadata_props.clear()  # lines and folders of the programs that drew it
    program.save(path, external_data=True)


def _open_sides(part: Part) -> tuple[Any, ...]:
    """Return which sides are open, as `torch.export` wants them: those of `*past` together."""
    from torch.export import Dim

    sides = [dict.fromkeys(part.open_sides[name], Dim.DYNAMIC) for name in part.inputs]
    named = part.module.forward.__code__.co_argcount - 1
    return (*sides[:named], tuple(sides[named:])) if len(sides) > named else tuple(sides)


def quantise(path: Path, bits: int) -> None:
    """Keep what a graph multiplies by in so many bits, a scale for each `BLOCK` of weights.

    Engines round what is multiplied with them to 8 bits, too, in blocks of as many (`ROUND`): that
    is two to three times as fast, and a row still does not depend on its neighbours.
    """
    import onnx

    before = external_files(path)
    model = onnx.load(path)
    _to_products(model.graph)
    with quietly():
        tool = _quantiser()
        settings = tool.DefaultWeightOnlyQuantConfig(
            block_size=BLOCK, is_symmetric=True, accuracy_level=ROUND, bits=bits
        )
        quantiser = tool.MatMulNBitsQuantizer(model, algo_config=settings)
        quantiser.process()
    for name in before:
        (path.parent / name).unlink()
    mode, data = path.stat().st_mode, path.with_name(f"{path.name}.data")
    onnx.save_model(quantiser.model.model, path, save_as_external_data=True, location=data.name)
    if data.exists():
        data.chmod(mode)  # `save_model` keeps it from other users


def _quantiser() -> Any:
    """Return ONNX Runtime's module; the log is as it was, which that sets up when it is loaded."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    module = importlib.import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    root.handlers[:] = before
    root.setLevel(level)
    return module


def _to_products(graph: Any) -> None:
    """Say `Gemm` by a constant as `MatMul` and `Add`: the quantiser knows no other."""
    from onnx import helper, numpy_helper

    known = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "Gemm" or node.input[1] not in known:
            nodes.append(node)
            continue
        assert _is_linear(node)
        name = f"{node.name}_weights"
        weights = numpy_helper.to_array(known[node.input[1]]).T.copy()
        graph.initializer.append(numpy_helper.from_array(weights, name))
        values, bias = node.input[0], node.input[2:]
        product = f"{node.output[0]}_product" if bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [values, name], [product], f"{node.name}_by"))
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], node.output, node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    unread = [tensor for tensor in graph.initializer if tensor.name not in read]
    for tensor in unread:
        graph.initializer.remove(tensor)


def _is_linear(node: Any) -> bool:
    """Return whether a `Gemm` is a linear layer: x times W transposed, and perhaps plus b."""
    attributes = {one.name: one for one in node.attribute}
    plain = all(attributes[name].f == 1 for name in ("alpha", "beta") if name in attributes)
    crossed = "transA" in attributes and attributes["transA"].i
    return plain and not crossed and attributes["transB"].i == 1
