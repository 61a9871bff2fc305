"""MNN, from ONNX: for phones."""

import sys
from pathlib import Path

from lakesight.exporting.base import Source, Written, run_tool
from lakesight.exporting.onnx import static

MAIN = "model.mnn"

CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
"""The converter alone: the command `mnnconvert` also installs a package to report its use."""


def convert(source: Source, folder: Path) -> Written:
    """Write `model.mnn`, weights in `source.precision`; for the view's size."""
    half = ("--fp16",) if source.precision == "f16" else ()
    files = ("--modelFile", static(source), "--MNNModel", folder / MAIN)
    words = ["-f", "ONNX", *files, "--bizCode", "lakesight", *half]
    run_tool("MNN's converter", [sys.executable, "-c", CONVERT, *words], folder / MAIN)
    return Written(MAIN)
