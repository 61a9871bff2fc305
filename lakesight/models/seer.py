"""The towers of an image-text checkpoint: one behind every model of a process that it serves."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from lakesight.errors import UserError
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.blip2.towers import Blip2Towers, BlipTowers
from lakesight.models.checkpoints import Graphs, graphs_of
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import Pixels, TorchOptions, on_cpu, read_config
from lakesight.models.towers import ClipTowers, Encoded, NaflexTowers, SiglipTowers, Towers
from lakesight.runtimes.shared import Last

TOWERS: dict[str, Any] = {
    "clip": ClipTowers,
    "siglip": SiglipTowers,
    "siglip2": NaflexTowers,
    "blip": BlipTowers,
    "blip-2": Blip2Towers,
}
"""By `model_type` of config.json."""


class Seer:
    """The towers, and what they saw last.

    So a picture whose vectors and features are both written goes through the vision tower once.
    """

    def __init__(self, folder: Path, options: TorchOptions, graphs: Graphs | None = None) -> None:
        """Load the weights, or where `graphs` are given, those of an export, open them."""
        preprocessor = read_preprocessor(folder, "image-text")
        self.view = preprocessor.view
        if graphs is None:
            self.towers = _towers(folder, options)
        else:
            options = on_cpu(options)
            self.towers = _exported(folder, graphs)
        self.lock = Lock()
        """Held while the weights work: models that share them have no other lock in common."""
        self.place = options.torch_device(), options.torch_dtype()
        """Of tensors that go into the towers."""
        self._pixels = Pixels(preprocessor, *self.place)
        self.runs_on = graphs.place if graphs else f"torch on {self._pixels.device.type}"
        self.see = Last(self._see)
        """Map views to what the towers make of them."""

    @torch.inference_mode()
    def _see(self, views: Sequence[Image]) -> Encoded:
        return self.towers.images(self._pixels(views))


def open_seer(card: ModelCard, folder: Path, options: TorchOptions, runtime: RuntimeName) -> Seer:
    """Return a card's towers as they run best here, or as was asked for; else `UserError`."""
    return Seer(folder, options, graphs_of(card, dict(options), runtime))


def _exported(folder: Path, graphs: Graphs) -> Towers:
    from lakesight.models.blip2.exported import ExportedTowers

    return ExportedTowers(folder, graphs)


def _towers(folder: Path, options: TorchOptions) -> Towers:
    """Return the towers of a checkpoint. Raises `UserError` for a type that is none of these."""
    model_type = read_config(folder)["model_type"]
    if model_type not in TOWERS:
        raise UserError(
            f"{folder.name} is of type {model_type!r}: an image-text model is one of "
            f"{', '.join(TOWERS)}"
        )
    towers: Towers = TOWERS[model_type](folder, options)
    return towers
