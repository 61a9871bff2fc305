"""OpenVINO IR: in f32, with weights in f16 or bf16, or int8 through NNCF."""

from pathlib import Path
from typing import Any

from lakesight.exporting.base import Source, Written, quietly

MAIN = "model.xml"
MIN_COMPRESSED = 64
"""Constants of fewer numbers stay in f32: they weigh nothing."""


def convert(source: Source, folder: Path) -> Written:
    """Write `model.xml` and `model.bin` in `source.precision`."""
    import openvino

    model = openvino.Core().read_model(source.onnx)
    if source.precision == "int8":
        model = _quantised(model, source)
    if source.precision == "bf16":
        _round_weights(model)
    openvino.save_model(model, folder / MAIN, compress_to_fp16=source.precision == "f16")
    return Written(MAIN)


def _round_weights(model: Any) -> None:
    """Store the weights in bf16: what an engine that computes so rounds them to."""
    from openvino import Type, opset13

    for constant in model.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_element_type() != Type.f32:
            continue
        readers = list(constant.output(0).get_target_inputs())
        if constant.data.size < MIN_COMPRESSED:
            continue
        stored = opset13.constant(constant.data, Type.bf16)
        widened = opset13.convert(stored, "f32")
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
        if node.get_type_name() in ("Convolution", "MatMul") or node.get_friendly_name() in found:
            continue
        if node.get_type_name() != "Constant":
            found[node.get_friendly_name()] = None
        waiting += [value.node for value in node.input_values()]
    return list(found)
