"""`lakesight tune DATA OUTPUT --trials 30`: the settings that train best, and the model of them."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field
from pydantic_settings import CliPositionalArg
from ray import tune
from ray.tune.schedulers import TrialScheduler

from actors import trials as tuning
from actors.pools import Node
from lakesight.errors import UserError
from lakesight.lake.uris import is_s3
from lakesight.training.search import Space, Tried, checked, default_space, proposed, values_of
from lakesight.training.trials import Trial, Trials, held
from lakesight.training.yolo.data import check_order
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.job import TrainJob, open_job_data, start
from workflows import tune_results as results
from workflows.cluster import check_reachable, cluster
from workflows.progress import Progress, duration, progress, say
from workflows.train import job_of

RAY = "ray"
"""Folder that Ray Tune keeps its own files in, while it runs; ours are what is resumed from."""
RETRIES = 3
"""How often a trial goes on from its last epoch after its process was lost."""


class Tune(TrainJob):
    r"""Search the settings that train best: many trainings, each with other values.

    Run the same command again to go on after an end, or with more --trials to search on. The
    fittest settings are in OUTPUT/best.yaml, their model is OUTPUT/best.

    Examples:
      lakesight tune scenes/ tuned/ --trials 30 --epochs 20 --image-size 320
      lakesight tune data.yaml tuned/ --search asha --trials 200 --epochs 60 --num-parallel 8
      lakesight tune data.yaml tuned/ --space space.yaml --config start.yaml
      lakesight train data.yaml cars/ --config tuned/best.yaml --epochs 300
    """

    data: CliPositionalArg[str]
    """Scenes, data.yaml, COCO .json, class folders, or an output of `lakesight annotate`."""
    output: CliPositionalArg[str]
    """Local folder, or one that all machines share."""
    config: Path | None = None
    """YAML file of the settings to begin with; flags win over it."""
    trials: int = Field(default=30, ge=1)
    """Trainings, those of earlier runs counted. The first has the settings as they are given."""
    search: Literal["genetic", "asha"] = "genetic"
    """genetic: children of the best so far. asha: random values, of which the worse end early."""
    space: Path | None = None
    """YAML file of `NAME: {low: 0.1, high: 1, log: false, gain: 1}`, in place of our own ranges."""
    min_epochs: int | None = Field(default=None, ge=1)
    """ASHA: epochs that every trial gets; a ninth of them all unless given."""
    reduction: float = Field(default=3.0, gt=1)
    """ASHA: one in so many goes on at each rung, which are so many times further apart."""
    num_parallel: int | None = Field(default=None, ge=1)
    """Trials at a time; one for each GPU, or one."""
    cpus_per_trial: int | None = Field(default=None, ge=1)
    """CPUs of a trial; an equal share of them unless given."""
    gpus_per_trial: float | None = Field(default=None, ge=0)
    """GPUs of a trial, also part of one; one where the cluster has them unless given."""
    address: str | None = None
    """Ray cluster; RAY_ADDRESS unless given, and this machine alone without either."""
    verbose: bool = False
    """Let Ray's own logs and tables through."""
    json_output: bool = Field(default=False, alias="json")
    """Print all trials as JSON."""

    def run(self) -> int:
        """Search to the end; return 0 when all trials are over and the best is a model."""
        job = self.job()
        data = open_job_data(job)
        space = self.hyperparameters(job, data.train)
        note = start(job, data.train).note
        began = time.perf_counter()
        lost = None
        with held(_local(self.output), self._tuning(job, space)) as trials:
            pending = trials.pending(self.trials)
            if pending:
                say(
                    f"{job.task}: {len(pending)} of {self.trials} trials to do, {len(space)} "
                    f"hyperparameters, {data.told()}; {note}"
                )
                lost = self._search(job, len(data.train), space, trials)
            if lost and trials.best() is None:
                raise UserError(lost)
            results.write(trials, job, space, data)
        results.show(trials, job, space, to_json=self.json_output)
        left = trials.pending(self.trials)
        for line in self._ends(trials, len(pending), len(left), time.perf_counter() - began):
            print(line, file=sys.stderr if self.json_output else sys.stdout)
        if lost:
            raise UserError(lost)
        return 1 if left else 0

    def job(self) -> TrainJob:
        """Return the training to begin with; UserError for a bad file."""
        given = self.model_dump(exclude_unset=True, include=set(TrainJob.model_fields))
        job = job_of(self.task, given, self.config)
        if not isinstance(job, TrainJob):
            raise UserError(f"{self.config} is for {job.task}: only the tasks of a YOLO are tuned")
        return job

    def hyperparameters(self, job: TrainJob, train: Pictures) -> Space:
        """Return what is searched; UserError for a bad file, or what the data cannot be tried with.

        Without a file: what makes a difference to such data.
        """
        if self.space is None:
            mirrors = train.flip_indices is not None
            return default_space(job.task, turns=not train.keypoints_by_place, mirrors=mirrors)
        try:
            written = yaml.safe_load(self.space.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"cannot read the space in {self.space}: {error}") from error
        if not isinstance(written, Mapping):
            raise UserError(f"{self.space}: expected `NAME: {{low: …, high: …}}` on every line")
        check_order(train, [str(name).removeprefix("augmentation.") for name in written])
        return checked(written, job)

    def _tuning(self, job: TrainJob, space: Space) -> dict[str, Any]:
        """Return all that decides what is searched, in the form that is written down."""
        asha = {"min_epochs": self._min_epochs(job), "reduction": self.reduction}
        return {
            "search": self.search,
            **(asha if self.search == "asha" else {}),
            "space": {name: one.model_dump() for name, one in space.items()},
            "settings": job.model_dump(mode="json"),
        }

    def _search(self, job: TrainJob, num_pictures: int, space: Space, trials: Trials) -> str | None:
        """Do the trials that are not over; return why that ended early, if it did."""
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # ours are written
        os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # it would end as if it were done
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address:
            check_reachable(address)
        numbers = trials.pending(self.trials)
        base = values_of(job, list(space))

        def propose(number: int, over: Sequence[Trial]) -> dict[str, float]:
            tried = [Tried(one.values, one.fitness) for one in over if one.status != "failed"]
            return proposed(self.search, number, tried, base, space, job.seed)

        with (
            cluster(address, verbose=self.verbose) as nodes,
            progress(
                len(numbers) * job.epochs * num_pictures, f"pictures of {len(numbers)} trials"
            ) as line,
        ):
            num_parallel, resources = self.shares(nodes, can_grow=bool(address))
            follow = _Follow(line, job.epochs, num_pictures, trials)
            proposals = tuning.Proposals(job, trials, numbers, propose, follow)
            shutil.rmtree(trials.folder / RAY, ignore_errors=True)
            tuner = tune.Tuner(
                tune.with_resources(tuning.train, resources),
                tune_config=tune.TuneConfig(
                    search_alg=proposals,
                    scheduler=self._scheduler(job, trials),
                    num_samples=len(numbers),
                    max_concurrent_trials=num_parallel,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=RAY,
                    storage_path=str(trials.folder.resolve()),
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    verbose=None if self.verbose else 0,
                ),
            )
            with nullcontext() if self.verbose else _nothing_on_stdout():
                grid = tuner.fit()
            shutil.rmtree(trials.folder / RAY, ignore_errors=True)
        return results.why_it_stopped(proposals.lost, grid.errors, RETRIES + 1)

    def _scheduler(self, job: TrainJob, trials: Trials) -> TrialScheduler | None:
        if self.search == "genetic":
            return None
        return tuning.asha(job.epochs, self._min_epochs(job), self.reduction, trials.over())

    def shares(self, nodes: Sequence[Node], *, can_grow: bool) -> tuple[int, dict[str, float]]:
        """Return how many trials run at a time, and what each of them has on one machine.

        Where no machine has that, another may be added to a cluster: a line says what is awaited.
        """
        all_gpus = sum(one.gpus for one in nodes)
        gpus = float(all_gpus >= 1) if self.gpus_per_trial is None else self.gpus_per_trial
        able = [one.cpus for one in nodes if one.gpus >= gpus] or [one.cpus for one in nodes]
        num_parallel = self.num_parallel or (max(1, int(all_gpus / gpus)) if gpus else 1)
        cpus = self.cpus_per_trial or max(1, int(min(sum(able) / num_parallel, max(able))))
        if any(one.cpus >= cpus and one.gpus >= gpus for one in nodes):
            return num_parallel, {"CPU": cpus, "GPU": gpus}
        wanted = f"a trial is to have {cpus} CPUs and {gpus:g} GPUs"
        if not can_grow:
            raise UserError(
                f"{wanted}, but this machine has {sum(able):g} and {all_gpus:g}: lower "
                "--cpus-per-trial or --gpus-per-trial"
            )
        say(f"{wanted}, which no machine of the cluster has: waiting for one to be added")
        return num_parallel, {"CPU": cpus, "GPU": gpus}

    def _ends(self, trials: Trials, num_done: int, num_left: int, seconds: float) -> Iterator[str]:
        """Yield what is said at the end."""
        folder = trials.folder
        if num_left:
            yield f"{num_left} trials are not over: run it again"
        done = f"Did {num_done - num_left} trials in {duration(seconds)}"
        yield (
            f"{done if num_done else 'Nothing to do'}; {folder / results.BEST_SETTINGS} has the "
            f"best settings, {folder / results.BEST_MODEL} is their model"
        )

    def _min_epochs(self, job: TrainJob) -> int:
        return min(self.min_epochs or max(1, job.epochs // 9), job.epochs)


@dataclass
class _Follow:
    """Shows how far the trials are."""

    line: Progress
    epochs: int
    num_pictures: int
    trials: Trials
    _epochs_done: dict[int, int] = field(default_factory=dict)

    def __call__(self, trial: Trial) -> None:
        is_over = trial.status != "open"
        self._epochs_done[trial.number] = self.epochs if is_over else len(trial.curve)
        self.line.done = sum(self._epochs_done.values()) * self.num_pictures
        if not is_over:
            return
        said = trial.message or f"fitness {trial.fitness:.3f} in {len(trial.curve)} epochs"
        best = self.trials.best()
        if best is not None:
            said += f"; best {best.fitness:.3f} (trial {best.number})"
        say(f"trial {trial.number} {trial.status}: {said}")


def _local(output: str) -> Path:
    if is_s3(output):
        raise UserError(f"expected a folder for the trials, got {output!r}: name one, then copy it")
    return Path(output)


@contextmanager
def _nothing_on_stdout() -> Iterator[None]:
    """Drop what Ray Tune prints, also at its lowest verbosity."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield
