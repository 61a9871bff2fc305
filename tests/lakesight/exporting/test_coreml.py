"""Core ML runs on Apple's systems only: what is checked here is what the package says of itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakesight.exporting.base import Source
from lakesight.exporting.coreml import convert
from lakesight.models.base import Precision
from lakesight.models.yolo.architecture import Task

FLOAT32 = 0x10000 | 32
"""`ArrayFeatureType.ArrayDataType` of Core ML's Model.proto."""


def spec(package: Path) -> Any:
    from coremltools.proto import Model_pb2

    read = Model_pb2.Model()
    read.ParseFromString((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return read


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_the_package_takes_and_gives_what_the_weights_do(
    precision: Precision, tiny_source: Callable[[Task], Source], tmp_path: Path
) -> None:
    source = replace(tiny_source("segment"), precision=precision)
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
        output.type.tensorType.dataType
        for operation in block.operations
        if operation.type == "conv"
        for output in operation.outputs
    }
    assert computed == {11 if precision == "f32" else 10}  # FLOAT32, FLOAT16 of MIL.proto
    weights = sum(tensor.nbytes for tensor in source.module.state_dict().values())
    stored = (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert 0.9 < stored / (weights if precision == "f32" else weights / 2) < 1.3
