"""A YOLO's part of a training: batches of labelled pictures, and the losses of its heads."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models.yolo.network import Network
from lakesight.models.yolo.outputs import Logits
from lakesight.training.loop import Losses
from lakesight.training.sampling import Shuffled
from lakesight.training.yolo.batches import Batch, Batches, loader, resized
from lakesight.training.yolo.datasets import Dataset
from lakesight.training.yolo.losses import Predictions, classification_loss, detection_losses
from lakesight.training.yolo.settings import TrainSettings

Judge = Callable[[Network], Mapping[str, float]]
"""Returns the metrics of a network; `fitness` is what is to be as large as possible."""


def frozen(network: Network, settings: TrainSettings) -> list[nn.Module]:
    """Return the layers that keep their weights; UserError where that is all of them."""
    layers = list(network.model)
    if settings.freeze >= len(layers):
        raise UserError(
            f"the network has {len(layers)} layers, and {settings.freeze} are to be frozen: freeze "
            f"{len(layers) - 1} at most, so that something is left to learn"
        )
    return layers[: settings.freeze]


class YoloRecipe:
    """See `lakesight.training.loop.Recipe`."""

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        judge: Judge,
        settings: TrainSettings,
        device: torch.device | None = None,
    ) -> None:
        self.dataset, self.judge, self.settings = dataset, judge, settings
        self.device = device or torch.device("cpu")
        # channels last: convolutions are a fifth faster on CPUs, and more on GPUs
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.labels, self.num_examples = dataset.labels, len(dataset)
        for layer in self._frozen():
            layer.requires_grad_(requires_grad=False)

    def _frozen(self) -> list[nn.Module]:
        return frozen(self.network, self.settings)

    def batches(self, rank: int, num_ranks: int) -> tuple[Batches, Shuffled]:
        """Return one process' batches, and what to tell the epoch."""
        kind = self.network.architecture
        return loader(
            self.dataset, kind.task, self.settings, rank, num_ranks, multi_label=kind.multi_label
        )

    def scales(self) -> Mapping[nn.Parameter, float]:
        """Return nothing: all learn at one rate."""
        return {}

    def set_train(self) -> None:
        """Train; frozen layers keep their statistics, too."""
        self.network.train()
        for layer in self._frozen():
            layer.eval()

    def losses(self, model: nn.Module, batch: Batch, step: int) -> Losses:
        """Return the losses of the heads."""
        batch = self._sized(batch.to(self.device), step)
        images = (batch.images.float() / 255).contiguous(memory_format=torch.channels_last)
        enabled = self.settings.precision == "bf16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=enabled):
            raw = model(images)
        return Losses(self._parts(raw, batch), len(images))

    def _parts(self, raw: Any, batch: Batch) -> dict[str, Tensor]:
        if isinstance(raw, Logits):
            return {"classes": classification_loss(raw.classes.float(), batch.class_ids)}
        return detection_losses(Predictions.of(raw), batch.truth, self.settings.loss)

    def _sized(self, batch: Batch, step: int) -> Batch:
        """Return the batch at this step's image size, which `multi_scale` draws."""
        settings = self.settings
        if not settings.multi_scale:
            return batch
        rng = np.random.default_rng([settings.seed, step])
        factor = rng.uniform(1 - settings.multi_scale, 1 + settings.multi_scale)
        return resized(batch, max(32, round(settings.image_size * factor / 32) * 32))

    def evaluate(self) -> Mapping[str, float]:
        """Judge the network as it is."""
        return self.judge(self.network)
