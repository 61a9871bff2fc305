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
from lakesight.models.writers import Writer, load_writer, open_writer
from lakesight.runtimes.shared import Last


class Author:
    """The weights of a BLIP or a BLIP-2, and what they saw last.

    So a picture that is captioned and asked about goes through the vision tower once.
    """

    def __init__(
        self,
        folder: Path,
        options: TorchOptions,
        writer: Writer | None = None,
        place: str | None = None,
    ) -> None:
        """Open a checkpoint; `writer` has its weights, where they are open already, at `place`."""
        preprocessor = read_preprocessor(folder, "captioner")
        self.view = preprocessor.view
        self.writer = writer or load_writer(read_config(folder)["model_type"], folder, options)
        self.lock = Lock()
        """Held while the weights work: models that share them have no other lock in common."""
        self.pixels = Pixels(preprocessor, options.torch_device(), options.torch_dtype())
        """Turn views into the vision tower's input."""
        self.runs_on = place or f"torch on {self.pixels.device.type}"
        self.see = Last(self._see)
        """Map views to what texts are written from, `(B, K, D)`."""

    @torch.inference_mode()
    def _see(self, views: Sequence[Image]) -> Tensor:
        return self.writer.see(self.pixels(views))


def open_author(
    card: ModelCard, folder: Path, options: TorchOptions, runtime: RuntimeName
) -> Author:
    """Return a card's checkpoint as it runs best here, or as was asked for; else `UserError`."""
    graphs = graphs_of(card, dict(options), runtime)
    return Author(folder, options) if graphs is None else exported_author(folder, options, graphs)


def exported_author(folder: Path, options: TorchOptions, graphs: Graphs) -> Author:
    """Return a BLIP-2 whose export runs in place of its weights."""
    return Author(folder, on_cpu(options), open_writer(folder, graphs), graphs.place)
