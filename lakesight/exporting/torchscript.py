"""TorchScript: the traced and frozen network."""

from pathlib import Path
from typing import Any

import torch

from lakesight.exporting.base import Source, Written, quietly

MAIN = "model.torchscript"


def convert(source: Source, folder: Path) -> Written:
    """Write a file that `torch.jit.load` and libtorch open; any batch, the view's size."""
    jit: Any = torch.jit
    with quietly():  # it warns that TorchScript is not developed further
        traced = jit.trace(source.module, source.example(), check_trace=False)
        jit.save(jit.freeze(traced), folder / MAIN)
    return Written(MAIN)
