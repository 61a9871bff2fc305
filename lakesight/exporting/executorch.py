"""ExecuTorch, its convolutions in XNNPACK: for phones and small boards."""

from pathlib import Path

import torch

from lakesight.exporting.base import Source, Written, quietly

MAIN = "model.pte"


def convert(source: Source, folder: Path) -> Written:
    """Write `model.pte`; one picture of the view's size."""
    with quietly():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(source.module, (source.example(),))
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        (folder / MAIN).write_bytes(edge.to_executorch().buffer)
    return Written(MAIN)
