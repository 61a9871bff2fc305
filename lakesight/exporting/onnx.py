"""ONNX: one picture, or any batch, height and width."""

from pathlib import Path
from typing import Any

import torch

from lakesight.exporting.base import INPUT, Source, Written, quietly

OPSET = 18
MAIN = "model.onnx"


def convert(source: Source, folder: Path) -> Written:
    """Write a file that takes one picture of the view's size."""
    write(source, folder / MAIN)
    return Written(MAIN)


def convert_dynamic(source: Source, folder: Path) -> Written:
    """Write a file that takes any number of pictures, of any sides that 32 divides."""
    write(source, folder / MAIN, dynamic=True)
    return Written(MAIN)


def write(source: Source, path: Path, *, dynamic: bool = False) -> None:
    """Write the network as one ONNX file, constants folded."""
    with quietly():
        torch.onnx.export(
            source.module,
            (source.example(2 if dynamic else 1),),
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
