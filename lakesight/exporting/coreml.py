"""Core ML, as an ML program for iOS 16, macOS 13 and later: converted anywhere, run there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lakesight.exporting.base import INPUT, Source, Written, quietly

MAIN = "model.mlpackage"


def convert(source: Source, folder: Path) -> Written:
    """Write `model.mlpackage`; one picture of the view's size.

    It takes and gives float32, with the names of the other formats. In f16 its feature maps are
    so; boxes are decoded in f32, because f16 holds a coordinate near 640 to half a pixel.
    """
    with quietly():
        import coremltools
        from coremltools import precision, target, transform

        program = torch.export.export(source.module, (source.example(),)).run_decompositions({})
        half = transform.FP16ComputePrecision(_is_feature_map(source.view.width))
        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            inputs=[coremltools.TensorType(INPUT, source.shape, dtype=np.float32)],
            outputs=[coremltools.TensorType(name, dtype=np.float32) for name in source.outputs],
            minimum_deployment_target=target.iOS16,
            compute_precision=half if source.precision == "f16" else precision.FLOAT32,
            skip_model_load=True,
        )
        model.short_description = f"Lakesight YOLO, {source.contract.task}"
        model.save(str(folder / MAIN))
    return Written(MAIN)


def _is_feature_map(width: int) -> Callable[[Any], bool]:
    """Return what tells an operation on maps of at most half the picture's width from decoding."""

    def on_maps(operation: Any) -> bool:
        found = operation.outputs[0]
        return bool(found.rank == 4 and found.shape[-1] <= width // 2)

    return on_maps
