"""MNN, from ONNX: for phones."""

import subprocess
import sys
from pathlib import Path

from lakesight.errors import UserError
from lakesight.exporting.base import Source, Written

MAIN = "model.mnn"

CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
"""The converter alone: the command `mnnconvert` also installs a package to report its use."""


def convert(source: Source, folder: Path) -> Written:
    """Write `model.mnn`, weights in `source.precision`; for the view's size."""
    half = ("--fp16",) if source.precision == "f16" else ()
    files = ("--modelFile", source.onnx, "--MNNModel", folder / MAIN)
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, "-f", "ONNX", *files, "--bizCode", "lakesight", *half],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not (folder / MAIN).exists():
        raise UserError(f"MNN's converter failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return Written(MAIN)
