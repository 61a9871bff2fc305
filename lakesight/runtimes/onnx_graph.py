"""ONNX files: opened safely, and edited so that pixels enter as uint8."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lakesight.errors import UserError
from lakesight.runtimes.base import Network, check_outputs

PIXELS = "lakesight_pixels"
"""Name of the uint8 input that `with_pixels` adds."""


def external_files(path: Path) -> list[str]:
    """Return the names of the files beside an ONNX file that hold its tensors.

    Raises UserError where one lies outside the file's folder, or is reached through a link.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    folder = path.parent.resolve()
    names = sorted({location for tensor in _tensors(model) for location in _locations(tensor)})
    for name in names:
        beside = path.parent / name
        if not name or beside.is_symlink() or not beside.resolve().is_relative_to(folder):
            raise UserError(
                f"{path.name} keeps tensors in {name!r}, outside its own folder: that is refused. "
                "Save it again with its data beside it."
            )
    return names


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor that may lie in another file, those of nested graphs too."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                graphs.extend((attribute.g, *attribute.graphs))


def _locations(tensor: Any) -> Iterator[str]:
    from onnx import TensorProto

    if tensor.data_location == TensorProto.EXTERNAL:
        found = [entry.value for entry in tensor.external_data if entry.key == "location"]
        yield from found or [""]


def with_pixels(path: Path, network: Network) -> bytes:
    """Return an ONNX file as bytes, its input uint8 `(N, H, W, 3)` and its outputs the wanted ones.

    Raises UserError for tensors that the file lacks, and for more than 2 GiB of weights.
    """
    import onnx

    model = onnx.load(path)
    _choose_outputs(model.graph, network, path.name)
    _prepend(model.graph, network)
    try:
        edited: bytes = model.SerializeToString()
    except ValueError as error:
        raise UserError(f"{path.name} is over 2 GiB: only openvino runs it") from error
    return edited


def _prepend(graph: Any, network: Network) -> None:
    """Put cast, channel order, normalisation and transposition in front of the graph's input."""
    from onnx import TensorProto, helper, numpy_helper

    source = graph_input(graph)
    nodes, current = [], PIXELS
    steps = _steps(network, source.type.tensor_type.elem_type)
    for index, (operation, constant, attributes) in enumerate(steps):
        inputs = [current]
        if constant is not None:
            inputs.append(f"{PIXELS}_{operation}")
            graph.initializer.append(numpy_helper.from_array(constant, inputs[1]))
        current = f"{PIXELS}_{index}"
        nodes.append(helper.make_node(operation, inputs, [current], **attributes))
    _splice(graph, source.name, nodes, current)
    batch = source.type.tensor_type.shape.dim[0].dim_value or "N"
    shape = [batch, network.height, network.width, 3]
    graph.input.remove(source)
    graph.input.insert(0, helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, shape))


def _steps(network: Network, element: int) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield operation, constant and attributes of each step from pixels to the input."""
    from onnx import TensorProto, helper

    if network.channels == "bgr":
        yield "Gather", np.array([2, 1, 0], np.int64), {"axis": 3}
    if element != TensorProto.UINT8:
        yield "Cast", None, {"to": element}
    number = helper.tensor_dtype_to_np_dtype(element)
    if network.mean is not None:
        yield "Sub", np.array(network.mean, number), {}
    if network.scale is not None:
        yield "Div", np.array(network.scale, number), {}
    if network.layout == "NCHW":
        yield "Transpose", None, {"perm": [0, 3, 1, 2]}


def _splice(graph: Any, old: str, nodes: list[Any], last: str) -> None:
    """Let whatever read the input `old` read `last` instead, and put `nodes` in front."""
    from onnx import helper

    bridge = helper.make_node("Identity", [last], [old])
    body = [*nodes, bridge, *graph.node]
    del graph.node[:]
    graph.node.extend(body)


def graph_input(graph: Any) -> Any:
    """Return the graph's one input; old files list their initializers among the inputs."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or not inputs[0].type.tensor_type.shape.dim:
        names = ", ".join(value.name for value in inputs) or "none"
        raise UserError(f"expected one input that takes pictures, got {names}")
    return inputs[0]


def _choose_outputs(graph: Any, network: Network, file_name: str) -> None:
    from onnx import helper

    known = [name for node in graph.node for name in node.output]
    check_outputs(network.outputs, known, file_name)
    wanted = list(network.outputs) or [value.name for value in graph.output]
    if network.features is not None:
        source = network.features
        source = penultimate(graph, wanted[0]) if source == "penultimate" else source
        check_outputs([source], known, file_name)
        graph.node.append(helper.make_node("Identity", [source], ["features"]))
        wanted.append("features")
    declared = {value.name: value for value in graph.output}
    outputs = [declared.get(name) or helper.make_empty_tensor_value_info(name) for name in wanted]
    del graph.output[:]
    graph.output.extend(outputs)


def penultimate(graph: Any, output: str) -> str:
    """Return the name of what the last fully connected layer before `output` reads."""
    makers = {name: node for node in graph.node for name in node.output}
    while output in makers:
        node = makers[output]
        if node.op_type in {"Gemm", "MatMul"}:
            return str(node.input[0])
        output = node.input[0] if node.input else ""
    raise UserError("there is no fully connected layer whose input could serve as features")
