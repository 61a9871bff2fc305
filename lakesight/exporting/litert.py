"""LiteRT, once TensorFlow Lite: for Android, boards and browsers.

The converter works in a process of its own, because it brings JAX, which must not be forked.
"""

import sys
from pathlib import Path

import torch

from lakesight.exporting.base import Source, Written, quietly, run_tool

MAIN = "model.tflite"
CONVERT = """
import sys, torch, litert_torch
program = torch.export.load(sys.argv[1])
litert_torch.convert(program.module(), program.example_inputs[0]).export(sys.argv[2])
"""


def convert(source: Source, folder: Path) -> Written:
    """Write `model.tflite`; one picture of the view's size.

    Inside, feature maps are in the order N, H, W, C; the input is N, C, H, W like the weights'.
    """
    program = source.scratch / "litert.pt2"
    with quietly():
        torch.export.save(torch.export.export(source.module, (source.example(),)), program)
    words = [sys.executable, "-W", "ignore", "-c", CONVERT]
    run_tool("litert-torch", [*words, program, folder / MAIN], folder / MAIN)
    return Written(MAIN)
