"""ONNX: one picture, or any batch, height and width; in f32, or with convolutions in int8."""

import shutil
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lakesight.exporting.base import INPUT, Source, Written, quietly
from lakesight.files import whole

OPSET = 18
MAIN = "model.onnx"


def convert(source: Source, folder: Path) -> Written:
    """Write a file that takes one picture of the view's size."""
    if source.precision == "int8":
        quantise(source, static(source), folder / MAIN)
    else:
        shutil.copyfile(static(source), folder / MAIN)
    return Written(MAIN)


def convert_dynamic(source: Source, folder: Path) -> Written:
    """Write a file that takes any number of pictures, of any sides that 32 divides."""
    write(source, folder / MAIN, dynamic=True)
    return Written(MAIN)


def static(source: Source) -> Path:
    """Return the network as ONNX for one picture of the view's size, constants folded.

    Its input is `images`, its outputs are `source.outputs`. Written into `source.scratch` when
    first asked for.
    """
    path = source.scratch / MAIN
    if not path.exists():
        with whole(path) as part:
            write(source, part)
    return path


def write(source: Source, path: Path, *, batch: int = 1, dynamic: bool = False) -> None:
    """Write the network as one ONNX file, constants folded; `dynamic` leaves its sizes open."""
    with quietly():
        torch.onnx.export(
            source.module,
            (source.example(2 if dynamic else batch),),
            path,
            input_names=[INPUT],
            output_names=list(source.outputs),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=_open_sizes() if dynamic else None,
            external_data=False,
            verbose=False,
        )


def _open_sizes() -> tuple[dict[int, Any]]:
    """Return which sides of the input are open."""
    from torch.export import Dim

    return ({0: Dim("batch"), 2: 32 * Dim("rows"), 3: 32 * Dim("columns")},)


def quantise(
    source: Source, path: Path, to: Path, *, batch: int = 1, symmetric: bool = False
) -> None:
    """Write an ONNX file with its convolutions in int8, ranges taken from the calibration views.

    The last convolutions, before boxes and scores are told, stay in f32. Ranges about 0
    (`symmetric`) are what TensorRT wants; others are faster on a CPU.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with quietly():
        quantize_static(
            str(path),
            str(to),
            Batches(source.calibration_inputs(), batch),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=last_convolutions(path),
            extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
        )


class Batches:
    """Calibration batches, one after another, as ONNX Runtime asks for them."""

    def __init__(self, inputs: Iterator[npt.NDArray[np.float32]], batch: int) -> None:
        self.inputs, self.batch = inputs, batch

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next batch, the last one filled up with its own; None where there is none."""
        found = list(islice(self.inputs, self.batch))
        if not found:
            return None
        return {INPUT: np.concatenate(list(islice(cycle(found), self.batch)))}


def last_convolutions(path: Path) -> list[str]:
    """Return the names of the convolutions that no other convolution follows."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [output.name for output in graph.output]
    seen: set[str] = set()
    found: list[str] = []
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            waiting += node.input
    return found
