"""LiteRT, once TensorFlow Lite: for Android, boards and browsers."""

from pathlib import Path

from lakesight.exporting.base import Source, Written, quietly

MAIN = "model.tflite"


def convert(source: Source, folder: Path) -> Written:
    """Write `model.tflite`; one picture of the view's size.

    Inside, feature maps are in the order N, H, W, C; the input is N, C, H, W like the weights'.
    """
    with quietly():
        import litert_torch

        litert_torch.convert(source.module, (source.example(),)).export(str(folder / MAIN))
    return Written(MAIN)
