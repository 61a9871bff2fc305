"""The Ray Tune side of a search: what proposes trials, what trains one, and what ends bad ones."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from lakesight.errors import UserError
from lakesight.training.binding import bind
from lakesight.training.callbacks import CsvLog
from lakesight.training.loop import Callback, Progress
from lakesight.training.search import with_values
from lakesight.training.trials import Trial, Trials
from lakesight.training.yolo.job import TrainJob, fit, open_job_data

EPOCH, FITNESS, CURVE, MESSAGE = "epoch", "fitness", "curve", "message"
"""What a trial reports; `fitness` is the best so far, `curve` that of every epoch."""
ALIKE = 3
"""Where so many trials failed before their first epoch, and no other did better, so will the rest.
"""

Propose = Callable[[int, Sequence[Trial]], dict[str, float]]
"""Returns the values of a trial by its number and the trials that are over."""


class Proposals(Searcher):
    """Gives Ray Tune the trials that are not over, and writes down what comes of them.

    What is on disk is all its state: an open trial is given again as it was, then new ones follow.
    None follows where one was lost, which says nothing of its values, or where all fail at once.
    """

    def __init__(
        self,
        job: TrainJob,
        trials: Trials,
        numbers: Sequence[int],
        propose: Propose,
        follow: Callable[[Trial], None],
    ) -> None:
        super().__init__(metric=FITNESS, mode="max")
        self._job, self._trials, self._propose, self._follow = job, trials, propose, follow
        self._numbers = list(numbers)
        self._running: dict[str, Trial] = {}
        self.lost: list[Trial] = []
        """Trials that ended by an error, again and again; they stay open."""

    def suggest(self, trial_id: str) -> Any:
        """Return what `train` takes, for the next trial."""
        if not self._numbers or self.lost or self._all_fail():
            return Searcher.FINISHED
        number = self._numbers.pop(0)
        trial = self._trials.known.get(number)
        if trial is None:
            trial = Trial(number=number, values=self._propose(number, self._trials.over()))
            self._trials.write(trial)
        self._running[trial_id] = trial
        job = with_values(self._job, trial.values)
        folder = self._trials.place(number).resolve()
        return {"job": job.model_dump(mode="json"), "folder": str(folder), "here": str(Path.cwd())}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Follow an epoch."""
        self._follow(self._running[trial_id].model_copy(update={CURVE: tuple(result[CURVE])}))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Write down what came of a trial."""
        trial = self._running.pop(trial_id)
        if error:
            self.lost.append(trial)
        elif result is not None:  # else it has not begun
            trial = _over(trial, result, self._job.epochs)
            self._trials.write(trial)
            self._follow(trial)

    def _all_fail(self) -> bool:
        over = self._trials.over()
        return len(over) >= ALIKE and all(one.status == "failed" and not one.curve for one in over)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the trials' own files are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


def _over(trial: Trial, result: Mapping[str, Any], epochs: int) -> Trial:
    """Return a trial with what it last reported."""
    curve = tuple(result[CURVE])
    if MESSAGE in result:
        found = {"status": "failed", MESSAGE: result[MESSAGE]}
    else:
        found = {"status": "done" if len(curve) == epochs else "stopped", FITNESS: max(curve)}
    return trial.model_copy(update={CURVE: curve, **found})


class Reports(Callback):
    """Reports every epoch to Ray Tune; of a training that goes on, first those of before."""

    def __init__(self) -> None:
        self.curve: list[float] = []

    def on_epoch(self, progress: Progress) -> None:
        """Report; Ray Tune ends the trial here where its scheduler says so."""
        for row in progress.history[len(self.curve) :]:
            self.curve.append(row[FITNESS])
            tune.report({EPOCH: len(self.curve), FITNESS: max(self.curve), CURVE: list(self.curve)})

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Report what a training that was killed at its very end has not."""
        self.on_epoch(progress)


def train(config: dict[str, Any]) -> None:
    """Train one trial, from its checkpoint where there is one.

    That its settings do not train, such as a loss that is no number, is a result too. Any other
    error (a network, a disk, memory) says nothing of them: it is raised, and the trial tried again.
    """
    with suppress(FileNotFoundError):
        os.chdir(config["here"])
    on_gpu = bool(ray.get_gpu_ids()) and torch.cuda.is_available()
    reports = Reports()
    try:
        job, folder = TrainJob.model_validate(config["job"]), Path(config["folder"])
        bind(job, folder)
        device = torch.device("cuda" if on_gpu else "cpu")
        fit(job, open_job_data(job), folder, [CsvLog(), reports], device)
    except UserError as error:
        message = str(error).partition("\n")[0]
        tune.report({FITNESS: 0.0, CURVE: reports.curve, MESSAGE: message})


def asha(epochs: int, min_epochs: int, reduction: float, over: Sequence[Trial]) -> TrialScheduler:
    """Return the scheduler that ends the worse of the trials at each rung (arXiv:1810.05934).

    It is told of the trials that are over, so that a search that goes on cuts as before.
    """
    scheduler = ASHAScheduler(
        time_attr=EPOCH,
        metric=FITNESS,
        mode="max",
        max_t=epochs,
        grace_period=min_epochs,
        reduction_factor=reduction,
        stop_last_trials=False,
    )
    nobody: Any = None  # the controller, of which it wants nothing
    for trial in over:
        past: Any = SimpleNamespace(trial_id=f"trial {trial.number}")
        scheduler.on_trial_add(nobody, past)
        for epoch in range(1, len(trial.curve) + 1):
            row = {EPOCH: epoch, FITNESS: max(trial.curve[:epoch])}
            scheduler.on_trial_result(nobody, past, row)
    return scheduler
