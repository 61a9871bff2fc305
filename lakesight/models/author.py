"""A checkpoint that looks and writes: one behind every model of a process that it serves."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from lakesight.models.base import Image
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import Pixels, TorchOptions, read_config
from lakesight.models.writers import Writer, load_writer
from lakesight.runtimes.shared import Last


class Author:
    """The weights of a BLIP or a BLIP-2, and what they saw last.

    So a picture that is captioned and asked about goes through the vision tower once.
    """

    def __init__(self, folder: Path, options: TorchOptions, writer: Writer | None = None) -> None:
        """Open a checkpoint; `writer` has its weights, where they are in memory already."""
        preprocessor = read_preprocessor(folder, "captioner")
        self.view = preprocessor.view
        self.writer = writer or load_writer(read_config(folder)["model_type"], folder, options)
        self.lock = Lock()
        """Held while the weights work: models that share them have no other lock in common."""
        self._pixels = Pixels(preprocessor, options.torch_device(), options.torch_dtype())
        self.runs_on = f"torch on {self._pixels.device.type}"
        self.see = Last(self._see)
        """Map views to what texts are written from, `(B, K, D)`."""

    @torch.inference_mode()
    def _see(self, views: Sequence[Image]) -> Tensor:
        return self.writer.see(self._pixels(views))
