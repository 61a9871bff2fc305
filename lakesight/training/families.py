"""What trains a task, and what every family's training can do."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lakesight.errors import UserError
from lakesight.evaluation.tasks import TASKS
from lakesight.models.base import ModelCard
from lakesight.training.job import Job
from lakesight.training.loop import Callback, Progress

if TYPE_CHECKING:
    import torch


class Judged(Protocol):
    """How good the trained model is."""

    def table(self) -> str:
        """Return the figures as plain text."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        ...


class Training(Protocol):
    """A training whose data is open: `Training(job)` opens and checks it, or UserError says why."""

    num_examples: int
    """Of one epoch."""

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        ...

    def followers(self) -> list[Callback]:
        """Return what follows every such training: a table of its epochs, plots."""
        ...

    def fit(
        self,
        folder: Path,
        callbacks: Sequence[Callback] = (),
        device: "torch.device | None" = None,
    ) -> Progress:
        """Train, going on where the folder's checkpoint is; every process of a group calls this."""
        ...

    def finish(self, folder: Path, shown: str | None = None) -> tuple[ModelCard, Judged]:
        """Write the best weights as a model folder, judged as they will be used.

        The model is called as the job says, or as the folder, or as `shown` calls that.
        """
        ...


def job_type(task: str) -> type[Job]:
    """Return the settings of a task's training; UserError for an unknown task."""
    job: type[Job] = _training(task).Job
    return job


def open_training(job: Job) -> Training:
    """Open a job's data."""
    training: Training = _training(job.task)(job)
    return training


def _training(task: str) -> Any:
    place = TASKS[task].training if task in TASKS else None
    if place is None:
        known = ", ".join(name for name, one in TASKS.items() if one.training)
        raise UserError(f"expected a task, one of {known}, but got {task!r}")
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
