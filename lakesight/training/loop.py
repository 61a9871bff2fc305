"""The training loop: plain torch, one process or several, the same curve after a kill."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lakesight.errors import UserError
from lakesight.models.yolo.network import Network
from lakesight.models.yolo.outputs import Logits
from lakesight.training.batches import Batch, loader, resized
from lakesight.training.datasets import Dataset
from lakesight.training.losses import Predictions, classification_loss, detection_losses
from lakesight.training.settings import TrainSettings

CHECKPOINT = "last.pt"
BEST = "best.pt"
EMA_RAMP = 2000
"""Updates in which the running mean's decay rises to its value."""
BIAS_WARMUP = {"sgd": 0.1, "adamw": 0.0}
"""Where the learning rate of biases starts; a step of AdamW is the rate itself, whatever the
gradient."""

Evaluate = Callable[[Network], Mapping[str, float]]
"""Returns the metrics of a network; `fitness` is what is to be as large as possible."""


@dataclass
class Progress:
    """How far a training is; what callbacks see."""

    epoch: int = 0
    """Epochs that are done."""
    best_fitness: float = -math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """One row an epoch: losses, learning rate, metrics."""


class Callback:
    """What may follow a training, in its first process. Every method may be left out."""

    def on_start(self, settings: TrainSettings, folder: Path) -> None:
        """Follow the start of a training, or its going on."""

    def on_step(self, epoch: int, step: int, num_steps: int, losses: Mapping[str, float]) -> None:
        """Follow one batch: number `step` of `num_steps` in `epoch`, all counted from 1."""

    def on_epoch(self, progress: Progress) -> None:
        """Follow one epoch; its row is `progress.history[-1]`."""

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Follow the end; the files are written."""

    def on_failure(self, error: BaseException) -> None:
        """Follow what ends a training before its end; it may go on later."""


class Trainer:
    """Trains one network on one dataset, and keeps everything in one folder.

    In a process group, every process has one of these, and sees its share of the pictures.
    """

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        evaluate: Evaluate,
        settings: TrainSettings,
        folder: Path,
        callbacks: Sequence[Callback] = (),
        device: torch.device | None = None,
    ) -> None:
        self.settings, self.folder, self.evaluate = settings, folder, evaluate
        self.callbacks = callbacks
        self.rank, self.num_ranks = _place()
        self.device = device or torch.device("cpu")
        # channels last: convolutions are a fifth faster on CPUs, and more on GPUs
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = deepcopy(network).eval().requires_grad_(requires_grad=False)
        kind = network.architecture
        self.batches, self.sampler = loader(
            dataset,
            kind.task,
            settings,
            self.rank,
            self.num_ranks,
            multi_label=kind.multi_label,
        )
        for layer in list(network.model)[: settings.freeze]:
            layer.requires_grad_(requires_grad=False)
        self.optimizer = _optimizer(network, settings)
        self.accumulate = max(
            1, round(settings.nominal_batch / (settings.batch_size * self.num_ranks))
        )
        self.progress = Progress()
        self.num_steps = 0
        self.num_updates = 0
        self.model: nn.Module = DistributedDataParallel(network) if self.num_ranks > 1 else network

    def fit(self) -> Progress:
        """Train to the end, from where `resume` left it; return how it went."""
        try:
            return self._fit()
        except BaseException as error:
            for callback in self._mine():
                callback.on_failure(error)
            raise

    def _fit(self) -> Progress:
        for callback in self._mine():
            callback.on_start(self.settings, self.folder)
        while self.progress.epoch < self.settings.epochs and not self._is_stale():
            row = self._epoch()
            self._validate(row)
            for callback in self._mine():
                callback.on_epoch(self.progress)
        for callback in self._mine():
            callback.on_end(self.progress, self.folder)
        return self.progress

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; return whether there is one."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_steps, self.num_updates = state["num_steps"], state["num_updates"]
        self.progress = Progress(**state["progress"])
        return True

    def _mine(self) -> Sequence[Callback]:
        return self.callbacks if self.rank == 0 else ()

    def _is_stale(self) -> bool:
        return self.progress.epoch - self.progress.best_epoch >= self.settings.patience

    def _epoch(self) -> dict[str, float]:
        """Look at every picture once; return the mean losses."""
        self.model.train()
        _keep_frozen_still(self.network, self.settings.freeze)
        self.sampler.epoch = self.progress.epoch
        sums: dict[str, float] = {}
        for number, batch in enumerate(self.batches):
            self._set_learning_rate()
            losses = self._step(batch)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            for callback in self._mine():
                callback.on_step(self.progress.epoch + 1, number + 1, len(self.batches), losses)
            is_last = number + 1 == len(self.batches)
            if (self.num_steps % self.accumulate) == 0 or is_last:
                self._update()
        self.progress.epoch += 1
        rate = self.optimizer.param_groups[0]["lr"]
        means = {f"loss/{name}": total / len(self.batches) for name, total in sums.items()}
        return {"epoch": self.progress.epoch, "learning_rate": rate, **means}

    def _step(self, batch: Batch) -> dict[str, float]:
        """Add the gradients of one batch; return its losses."""
        batch = self._sized(batch.to(self.device))
        images = (batch.images.float() / 255).contiguous(memory_format=torch.channels_last)
        enabled = self.settings.precision == "bf16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=enabled):
            raw = self.model(images)
        parts = self._losses(raw, batch)
        total = torch.stack(list(parts.values())).sum()
        if not total.isfinite():
            raise UserError(
                f"the loss is {total.item()} in epoch {self.progress.epoch + 1}: "
                f"{', '.join(f'{name} {part.item():.3g}' for name, part in parts.items())}. Lower "
                "the learning rate, use precision f32, or look for broken labels"
            )
        # a sum over all pictures: DDP gives the mean of the workers'
        (total * len(images) * self.num_ranks).backward()  # type: ignore[no-untyped-call]  # torch's own gap
        self.num_steps += 1
        return {name: float(part.detach()) for name, part in parts.items()}

    def _losses(self, raw: Any, batch: Batch) -> dict[str, Tensor]:
        if isinstance(raw, Logits):
            return {"classes": classification_loss(raw.classes.float(), batch.class_ids)}
        return detection_losses(Predictions.of(raw), batch.truth, self.settings.loss)

    def _sized(self, batch: Batch) -> Batch:
        """Return the batch at this step's image size, which `multi_scale` draws."""
        settings = self.settings
        if not settings.multi_scale:
            return batch
        rng = np.random.default_rng([settings.seed, self.num_steps])
        factor = rng.uniform(1 - settings.multi_scale, 1 + settings.multi_scale)
        return resized(batch, max(32, round(settings.image_size * factor / 32) * 32))

    def _update(self) -> None:
        """Move the weights, and the running mean after them."""
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_gradient)
        if not norm.isfinite():
            raise UserError(
                f"the gradient is {norm.item()} in epoch {self.progress.epoch + 1}: lower the "
                "learning rate, use precision f32, or look for broken labels"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.num_updates += 1
        decay = self.settings.ema_decay * (1 - math.exp(-self.num_updates / EMA_RAMP))
        mean, now = self.ema.state_dict(), self.network.state_dict()
        for name, value in mean.items():
            if value.is_floating_point():
                value.lerp_(now[name].detach(), 1 - decay)

    def _set_learning_rate(self) -> None:
        settings = self.settings
        done = self.num_steps / len(self.batches)
        cosine = (1 + math.cos(math.pi * min(1.0, done / settings.epochs))) / 2
        rate = settings.learning_rate * (
            settings.final_factor + (1 - settings.final_factor) * cosine
        )
        warm = min(1.0, done / settings.warmup_epochs) if settings.warmup_epochs else 1.0
        for group in self.optimizer.param_groups:
            start = BIAS_WARMUP[settings.optimizer] if group["is_bias"] else 0.0
            group["lr"] = start + warm * (rate - start)

    def _validate(self, row: dict[str, float]) -> None:
        """Measure the running mean, and write it down where it is the best so far."""
        metrics = self.evaluate(self.ema) if self.rank == 0 else {}
        self.progress.history.append(row | dict(metrics))
        if self.rank == 0 and metrics["fitness"] > self.progress.best_fitness:
            self.progress.best_fitness = metrics["fitness"]
            self.progress.best_epoch = self.progress.epoch
            _save(self.folder / BEST, {"network": self.ema.state_dict()})
        if self.rank == 0:
            self._checkpoint()
        self._share_best()

    def _share_best(self) -> None:
        """Have every process know the best epoch, so that all end at the same one."""
        if self.num_ranks > 1:
            best = torch.tensor([self.progress.best_epoch], device=self.device)
            torch.distributed.broadcast(best, 0)
            self.progress.best_epoch = int(best)

    def _checkpoint(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_steps": self.num_steps,
            "num_updates": self.num_updates,
            "progress": asdict(self.progress),
        }
        _save(self.folder / CHECKPOINT, state)


def _place() -> tuple[int, int]:
    """Return this process's number and how many there are."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a file that is whole whenever it is there."""
    part = path.with_suffix(".part")
    torch.save(dict(state), part)
    part.replace(path)


def _optimizer(network: Network, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimizer: decay for weights only, and biases apart for their warm-up."""
    weights: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            is_bias = name == "bias"
            group = biases if is_bias else others if parameter.ndim < 2 else weights
            group.append(parameter)
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay, "is_bias": False},
        {"params": others, "weight_decay": 0.0, "is_bias": False},
        {"params": biases, "weight_decay": 0.0, "is_bias": True},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, settings.learning_rate, (settings.momentum, 0.999))
    return torch.optim.SGD(groups, settings.learning_rate, settings.momentum, nesterov=True)


def _keep_frozen_still(network: Network, freeze: int) -> None:
    """Keep the statistics of frozen layers as they are, too."""
    for layer in list(network.model)[:freeze]:
        layer.eval()
