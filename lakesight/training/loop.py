"""The training loop: plain torch, one process or several, the same curve after a kill."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lakesight.errors import UserError
from lakesight.files import whole
from lakesight.training import optimizing, ranks
from lakesight.training.settings import LoopSettings

log = logging.getLogger(__name__)

STATE = "training"
"""Folder in a model folder that holds what its training left: checkpoints, curves, plots."""
SETTINGS = "settings.yaml"
CHECKPOINT = "last.pt"
BEST = "best.pt"


class Losses(NamedTuple):
    """Of one batch."""

    parts: dict[str, Tensor]
    """Weighted means over the batch; their sum is what to make small."""
    num_examples: int
    """Examples in the batch."""


class Batches(Protocol):
    """One process' share of an epoch's batches."""

    def __len__(self) -> int:
        """Return how many there are, the same for every process."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield them."""
        ...


class Epochs(Protocol):
    """What draws the batches: another order in every epoch."""

    epoch: int


class Recipe(Protocol):
    """A family's part of a training: what learns, from what, and how good it has become."""

    network: nn.Module
    """On its device; what is to stay as it is needs no gradient."""
    device: torch.device
    labels: tuple[str, ...]
    """What the network tells apart: a training does not go on with others."""
    num_examples: int

    def batches(self, rank: int, num_ranks: int) -> tuple[Batches, Epochs]:
        """Return one process' batches, and what to tell the epoch."""
        ...

    def scales(self) -> Mapping[nn.Parameter, float]:
        """Return the factors of the learning rate of what has another than the rest."""
        ...

    def set_train(self) -> None:
        """Put what learns into training mode, and what is frozen into evaluation."""
        ...

    def losses(self, model: nn.Module, batch: Any, step: int) -> Losses:
        """Run `model`, the network or what shares its gradients, on batch number `step`."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Judge the network as it is; `fitness` is what is to be as large as possible."""
        ...


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

    def on_start(self, settings: LoopSettings, folder: Path) -> None:
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
    """Trains by a recipe, and keeps everything in one folder.

    In a process group, every process has one of these, and sees its share of the examples.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: LoopSettings,
        folder: Path,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.recipe, self.settings, self.folder = recipe, settings, folder
        self.callbacks = callbacks
        self.rank, self.num_ranks = ranks.place()
        self.network, self.device = recipe.network, recipe.device
        self.batches, self.sampler = recipe.batches(self.rank, self.num_ranks)
        self.mean = optimizing.RunningMean(self.network, settings.ema_decay)
        self.optimizer = optimizing.optimizer_of(self.network, settings, recipe.scales())
        self.accumulate = max(
            1, round(settings.nominal_batch / (settings.batch_size * self.num_ranks))
        )
        self.progress = Progress()
        self.num_steps = 0
        self.num_updates = 0
        self.model: nn.Module = self.network
        if self.num_ranks > 1:
            self.model = DistributedDataParallel(self.network)

    def fit(self) -> Progress:
        """Train to the end, from where `resume` left it; return how it went."""
        try:
            return self._fit()
        except BaseException as error:
            self._tell_failure(error)
            raise

    def _tell_failure(self, error: BaseException) -> None:
        for callback in self._mine():
            try:
                callback.on_failure(error)
            except Exception:  # what ended the training is what is to be seen
                log.warning("%s failed after that", type(callback).__name__, exc_info=True)

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
        """Go on from the folder's checkpoint; return whether there is one.

        The network is as it was at the start: a checkpoint has only what learns. The number of
        examples and of processes may be another one. Raises UserError where the classes are others,
        and where the processes see different checkpoints.
        """
        path = self.folder / CHECKPOINT
        if is_there := path.is_file():
            self._load(torch.load(path, weights_only=True, map_location=self.device))
        first, last = ranks.extent(self.progress.epoch, self.device)
        if first != last:
            raise UserError(
                f"one worker would go on from epoch {first}, another from {last}: the output must "
                "be a folder that all machines share, or an s3:// prefix"
            )
        return is_there

    def _load(self, state: Mapping[str, Any]) -> None:
        labels, num_examples = self.recipe.labels, self.recipe.num_examples
        known = tuple(state["labels"])
        if known != labels:
            raise UserError(
                f"{self.folder} has been trained on the classes {', '.join(known)}, now they are "
                f"{', '.join(labels)}: take the same ones, or name a new output"
            )
        if (count := state["num_examples"]) != num_examples:
            log.warning("going on with %d examples, there were %d before", num_examples, count)
        optimizing.put(self.mean.live, state["network"])
        optimizing.put(self.mean.values, state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_steps, self.num_updates = state["num_steps"], state["num_updates"]
        self.progress = Progress(**state["progress"])

    def _mine(self) -> Sequence[Callback]:
        return self.callbacks if self.rank == 0 else ()

    def _is_stale(self) -> bool:
        return self.progress.epoch - self.progress.best_epoch >= self.settings.patience

    def _epoch(self) -> dict[str, float]:
        """Look at the examples once; return the mean losses of all processes."""
        self.recipe.set_train()
        self.sampler.epoch = self.progress.epoch
        sums: dict[str, float] = {}
        num_batches = len(self.batches)
        for number, batch in enumerate(self.batches, 1):
            done = self.progress.epoch + (number - 1) / num_batches
            optimizing.set_rates(self.optimizer, self.settings, done)
            is_last = number % self.accumulate == 0 or number == num_batches
            with nullcontext() if is_last else self._alone():
                losses = self._step(batch)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value / num_batches
            for callback in self._mine():
                callback.on_step(self.progress.epoch + 1, number, num_batches, losses)
            if is_last:
                self._update()
        self.progress.epoch += 1
        rate = self.optimizer.param_groups[0]["lr"]
        losses = {f"loss/{name}": one for name, one in ranks.mean(sums, self.device).items()}
        return {"epoch": self.progress.epoch, "learning_rate": rate, **losses}

    def _alone(self) -> AbstractContextManager[Any]:
        """Keep gradients to this process; the last batch before an update shares them all."""
        model = self.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

    def _step(self, batch: Any) -> dict[str, float]:
        """Add the gradients of one batch; return its losses."""
        parts, num_examples = self.recipe.losses(self.model, batch, self.num_steps)
        total = torch.stack(list(parts.values())).sum()
        if not total.isfinite():
            raise UserError(
                f"the loss is {total.item()} in epoch {self.progress.epoch + 1}: "
                f"{', '.join(f'{name} {part.item():.3g}' for name, part in parts.items())}. Lower "
                "the learning rate, use precision f32, or look for broken labels"
            )
        # a sum over all examples: DDP gives the mean of the workers'
        (total * num_examples * self.num_ranks).backward()  # type: ignore[no-untyped-call]  # torch's own gap
        self.num_steps += 1
        return {name: float(part.detach()) for name, part in parts.items()}

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
        self.mean.follow(self.num_updates)

    def _validate(self, row: dict[str, float]) -> None:
        """Measure the running mean, and write it down where it is the best so far."""
        metrics: Mapping[str, float] = {}
        if self.rank == 0:
            with self.mean.shown():
                metrics = self.recipe.evaluate()
        self.progress.history.append(row | dict(metrics))
        if self.rank == 0 and metrics["fitness"] > self.progress.best_fitness:
            self.progress.best_fitness = metrics["fitness"]
            self.progress.best_epoch = self.progress.epoch
            _save(self.folder / BEST, {"network": self.mean.values})
        if self.rank == 0:
            self._checkpoint()
        # all are to end at the same epoch
        self.progress.best_epoch = ranks.of_the_first(self.progress.best_epoch, self.device)

    def _checkpoint(self) -> None:
        state = {
            "network": self.mean.live,
            "mean": self.mean.values,
            "optimizer": self.optimizer.state_dict(),
            "num_steps": self.num_steps,
            "num_updates": self.num_updates,
            "progress": asdict(self.progress),
            "labels": list(self.recipe.labels),
            "num_examples": self.recipe.num_examples,
        }
        _save(self.folder / CHECKPOINT, state)


def _save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a file that is whole whenever it is there."""
    with whole(path) as part:
        torch.save(dict(state), part)
