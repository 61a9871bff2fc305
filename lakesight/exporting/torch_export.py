"""A program of `torch.export`: what AOTInductor, ExecuTorch and other compilers start from."""

from pathlib import Path

import torch
from torch.export import Dim

from lakesight.exporting.base import Source, Written

MAIN = "model.pt2"


def convert(source: Source, folder: Path) -> Written:
    """Write a file that `torch.export.load` opens; any batch, the view's size."""
    batch = Dim("batch")
    with torch.no_grad():
        program = torch.export.export(
            source.module, (source.example(2),), dynamic_shapes=({0: batch},)
        )
    torch.export.save(program, folder / MAIN)
    return Written(MAIN)
