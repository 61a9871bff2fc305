"""LiteRT, once TensorFlow Lite: for Android, boards and browsers.

The converter works in a process of its own, because it brings JAX, which must not be forked.
"""

import subprocess
import sys
from pathlib import Path

import torch

from lakesight.errors import UserError
from lakesight.exporting.base import Source, Written, quietly

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
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CONVERT, program, folder / MAIN],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"litert-torch failed: {done.stderr.strip()[-300:]}")
    return Written(MAIN)
