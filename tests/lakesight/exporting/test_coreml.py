"""Core ML runs on Apple's systems only: what is checked here is what the package says of itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lakesight.exporting.base import Source
from lakesight.exporting.coreml import convert
from lakesight.models.yolo.architecture import Task

FLOAT32 = 0x10000 | 32
"""`ArrayFeatureType.ArrayDataType` of Core ML's Model.proto."""
F16, F32 = 10, 11
"""`DataType` of its MIL.proto."""


def spec(package: Path) -> Any:
    from coremltools.proto import Model_pb2

    read = Model_pb2.Model()
    read.ParseFromString((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return read


def test_the_package_takes_and_gives_what_the_weights_do(
    tiny_source: Callable[[Task], Source], tmp_path: Path
) -> None:
    source = replace(tiny_source("segment"), precision="f16")
    package = tmp_path / convert(source, tmp_path).main
    read = spec(package)
    arrays = {
        each.name: (tuple(each.type.multiArrayType.shape), each.type.multiArrayType.dataType)
        for each in [*read.description.input, *read.description.output]
    }
    assert arrays == {
        "images": ((1, 3, 96, 96), FLOAT32),
        "output_0": ((1, 4 + 3 + 32, 189), FLOAT32),
        "output_1": ((1, 32, 24, 24), FLOAT32),
    }
    assert read.WhichOneof("Type") == "mlProgram"
    (function,) = read.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    computed = {
        kind: {
            output.type.tensorType.dataType
            for operation in block.operations
            if operation.type == kind
            for output in operation.outputs
        }
        for kind in ("conv", "silu", "softmax", "reduce_sum")
    }
    # Maps in f16, boxes in f32.
    assert computed == {"conv": {F16}, "silu": {F16}, "softmax": {F32}, "reduce_sum": {F32}}
    weights = sum(tensor.nbytes for tensor in source.module.state_dict().values())
    stored = (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert 0.9 < stored / (weights / 2) < 1.3
