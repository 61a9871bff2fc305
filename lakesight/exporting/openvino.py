"""OpenVINO IR: in f32, with weights in f16 or bf16, or int8 through NNCF."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lakesight.exporting.base import Source, Written, quietly
from lakesight.exporting.onnx import static
from lakesight.runtimes.openvino import core

MAIN = "model.xml"
WEIGHING = ("Convolution", "ConvolutionBackpropData", "MatMul")
"""Operations whose constants are the weights."""


def convert(source: Source, folder: Path) -> Written:
    """Write `model.xml` and `model.bin` in `source.precision`."""
    import openvino

    model = core().read_model(static(source))
    if source.precision == "int8":
        model = _quantised(model, source)
    if source.precision == "bf16":
        _round_weights(model)
    openvino.save_model(model, folder / MAIN, compress_to_fp16=source.precision == "f16")
    return Written(MAIN)


def _round_weights(model: Any) -> None:
    """Store the weights in bf16: what an engine that computes so rounds them to."""
    from openvino import Shape, Tensor, Type, opset13

    for constant in model.get_ordered_ops():
        readers = list(constant.output(0).get_target_inputs()) if constant.outputs() else []
        weighs = any(one.get_node().get_type_name() in WEIGHING for one in readers)
        if constant.get_type_name() != "Constant" or not weighs:
            continue
        # OpenVINO's own conversion does not round to the nearest
        rounded = torch.from_numpy(constant.data.copy()).bfloat16().view(torch.int16)
        stored = Tensor(Type.bf16, Shape(list(rounded.shape)))
        stored.data.view(np.int16)[...] = rounded.numpy()
        widened = opset13.convert(opset13.constant(stored), "f32")
        for reader in readers:
            reader.replace_source_output(widened.output(0))


def _quantised(model: Any, source: Source) -> Any:
    """Return the model with int8 convolutions, ranges taken from the calibration views.

    The decoding of boxes after the last convolutions stays in f32: a coordinate has more than 256
    values.
    """
    inputs = list(source.calibration_inputs())
    with quietly():
        import nncf

        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=_decoding(model), validate=False),
        )


def _decoding(model: Any) -> list[str]:
    """Return the operations between the last convolutions and the outputs."""
    found: dict[str, None] = {}
    waiting = [output.node.input_value(0).node for output in model.outputs]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() in WEIGHING or node.get_friendly_name() in found:
            continue
        if node.get_type_name() != "Constant":
            found[node.get_friendly_name()] = None
        waiting += [value.node for value in node.input_values()]
    return list(found)
