"""A checkpoint that looks and writes: one behind every model of a process that it serves."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.checkpoints import Graphs, graphs_of
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import Pixels, TorchOptions, on_cpu, read_config
from lakesight.models.writers import load_writer, open_writer
from lakesight.runtimes.shared import Last


class Author:
    """The weights of a BLIP or a BLIP-2, and what they saw last.

    So a picture that is captioned and asked about goes through the vision tower once. `graphs` are
    those of an export of the weights, to run in their place.
    """

    def __init__(self, folder: Path, options: TorchOptions, graphs: Graphs | None = None) -> None:
        preprocessor = read_preprocessor(folder, "captioner")
        self.view = preprocessor.view
        if graphs is None:
            self.writer = load_writer(read_config(folder)["model_type"], folder, options)
        else:
            options = on_cpu(options)
            self.writer = open_writer(folder, graphs)
        self.lock = Lock()
        """Held while the weights work: models that share them have no other lock in common."""
        self.pixels = Pixels(preprocessor, options.torch_device(), options.torch_dtype())
        """Turn views into the vision tower's input."""
        self.runs_on = graphs.place if graphs else f"torch on {self.pixels.device.type}"
        self.see = Last(self._see)
        """Map views to what texts are written from, `(B, K, D)`."""

    @torch.inference_mode()
    def _see(self, views: Sequence[Image]) -> Tensor:
        return self.writer.see(self.pixels(views))


def open_author(
    card: ModelCard, folder: Path, options: TorchOptions, runtime: RuntimeName
) -> Author:
    """Return a card's checkpoint as it runs best here, or as was asked for; else `UserError`."""
    return Author(folder, options, graphs_of(card, dict(options), runtime))
