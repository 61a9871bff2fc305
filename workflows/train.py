"""`lakesight train DATA OUTPUT --task detect`: labelled pictures to a model folder."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import ray
import yaml
from pydantic import Field, ValidationError, create_model
from pydantic_settings import CliPositionalArg
from ray.exceptions import RayActorError, RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from actors.board import Board, Told
from actors.pools import Node
from lakesight.errors import UserError, first_mistake
from lakesight.lake.uris import is_s3
from lakesight.training import callbacks as trackers
from lakesight.training.binding import model_name
from lakesight.training.families import job_type, open_training
from lakesight.training.job import Job
from lakesight.training.loop import BEST, SETTINGS, STATE, Callback
from lakesight.training.yolo.job import TrainJob
from workflows.cluster import check_reachable, cluster
from workflows.place import RAY, Place, Pushed
from workflows.progress import Progress, duration, progress, say
from workflows.workers import check_lost, cpus_per_worker, last_line, uses_gpus

RETRIES = 3
"""How often a training goes on from its last epoch after a worker was lost."""
STARTS = 30
"""How often Ray waits a minute for machines that are to come, before the training ends."""
PATIENCE_S = 7 * 24 * 3600
"""How long a worker waits for the others, of which the first one also validates."""
TRACKERS: dict[str, Callable[[str], Callback]] = {
    "tensorboard": lambda _: trackers.TensorBoard(),
    "mlflow": lambda name: trackers.MLflow(run_name=name),
}
"""By what is tracked, what tracks a training, which is called as its model."""


class _Trainer(TorchTrainer):
    """Leaves Ctrl-C to Python, as everywhere: Ray's handler says nothing and ends with 1."""

    def _register_sigint_handler(self, controller: Any) -> None:
        pass


class Command(Job):
    """What every training's command takes beside its settings, and how it runs."""

    output: CliPositionalArg[str]
    """Folder that all machines share, or s3:// prefix: it becomes a model folder."""
    config: Path | None = None
    """YAML file of these settings; flags win over it."""
    num_workers: int = Field(default=1, ge=1)
    """Processes that train together, each on its share of every batch."""
    gpus: int | None = Field(default=None, ge=0)
    """GPUs to use; one a worker where the cluster has them unless given."""
    track: tuple[str, ...] = ()
    """tensorboard or mlflow; may be given several times. results.csv is always written."""
    address: str | None = None
    """Ray cluster; RAY_ADDRESS unless given, and this machine alone without either."""
    verbose: bool = False
    """Let Ray's own logs through."""
    json_output: bool = Field(default=False, alias="json")
    """Print the evaluation as JSON."""

    def run(self) -> int:
        """Train to the end; return 0 when the model folder is whole."""
        unknown = [one for one in self.track if one not in TRACKERS]
        if unknown:
            raise UserError(f"--track takes {' or '.join(TRACKERS)}, but got {unknown[0]!r}")
        _trackers(self.track, "")  # what one of them lacks is said before Ray starts
        job = self.job()
        training = open_training(job)
        told = training.told()
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address:
            check_reachable(address)
        began = time.perf_counter()
        with Place(self.output) as place, place.held():
            if place.bind(job):
                print(f"Nothing to do: {self.output} is trained")
                return 0
            say(told)
            with cluster(address, verbose=self.verbose) as nodes:
                self._train(job, training.num_examples, place, nodes)
            place.pull(f"{STATE}/{BEST}")
            card, result = training.finish(place.folder, self.output)
            place.push_all()
        if self.json_output:
            print(json.dumps({"model": self.output, **result.to_dict()}))
        else:
            print(result.table())
        print(
            f"Wrote {card.name} to {self.output} in {duration(time.perf_counter() - began)}; its "
            f"curve is in {self.output.rstrip('/')}/{STATE}/results.csv"
        )
        return 0

    def job(self) -> Job:
        """Return the training without what is said of the machines; UserError for a bad file."""
        settings = job_type(self.task).model_fields
        given = self.model_dump(exclude_unset=True, include=set(settings))
        return job_of(self.task, given, self.config)

    def _train(self, job: Job, num_examples: int, place: Place, nodes: Sequence[Node]) -> None:
        """Run the workers, again where one was lost."""
        board = Board.remote()  # type: ignore[attr-defined]  # Ray's decorator adds it
        trainer = _Trainer(
            _work,
            train_loop_config={
                "job": job.model_dump(mode="json"),
                "output": self.output if is_s3(self.output) else str(place.folder),
                "here": str(Path.cwd()),
                "track": self.track,
                "board": board,
            },
            torch_config=TorchConfig(timeout_s=PATIENCE_S),
            scaling_config=ScalingConfig(
                num_workers=self.num_workers,
                use_gpu=uses_gpus(self.num_workers, self.gpus, nodes),
                resources_per_worker={"CPU": cpus_per_worker(self.num_workers, nodes)},
            ),
            # mypy sees the classes of Ray Train's first version
            run_config=RunConfig(  # type: ignore[call-arg]
                name=RAY,
                failure_config=FailureConfig(controller_failure_limit=STARTS),  # type: ignore[call-arg]
                worker_runtime_env={"env_vars": _mlflow_settings()},
                **place.ray_storage(),
            ),
        )
        total, of = job.epochs * num_examples, f"pictures of {job.epochs} epochs"
        with progress(total, of) as line, _following(board, line, job.epochs):
            _fit(trainer, verbose=self.verbose)
        place.forget(f"{STATE}/{RAY}")


class Train(TrainJob, Command):
    r"""Train a YOLO on labelled pictures: boxes, masks, keypoints, rotated boxes or classes.

    Run the same command again to go on after an end; it does nothing where it is done. With
    `--task retrieve` it trains BLIP-2's first stage, with `--task write` its second, whose settings
    `--task retrieve --help` tells.

    Examples:
      lakesight scenes scenes/ && lakesight train scenes/ shapes/ --epochs 20 --image-size 320
      lakesight train data.yaml cars/ --weights starter-yolo-detect --epochs 50
      lakesight train s3://lake/seen cars/ --task segment --num-workers 4 --track mlflow
      lakesight train photos/ kinds/ --task classify --config kinds.yaml
    """

    data: CliPositionalArg[str]
    """Scenes, data.yaml, COCO .json, class folders, or an output of `lakesight annotate`."""


def command_of(task: str) -> type[Command]:
    """Return the command with the settings of a task's training; UserError for an unknown task."""
    job = job_type(task)
    if issubclass(Train, job):
        return Train
    data = (CliPositionalArg[str], Field(description=job.model_fields["data"].description))
    bases: Any = (job, Command)
    made = create_model("Train", __base__=bases, __doc__=job.__doc__, data=data)
    return cast("type[Command]", made)


def job_of(task: str, given: Mapping[str, Any], config: Path | None) -> Job:
    """Return the training of a file's settings, over which `given` ones win.

    `task` is for where neither names one. UserError for a bad file.
    """
    if config is None:
        return job_type(task).model_validate(given)
    try:
        written = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the settings in {config}: {error}") from error
    if not isinstance(written, Mapping):
        raise UserError(f"{config}: expected `NAME: VALUE` on every line")
    merged = _merged(written, given)
    kind = job_type(merged.get("task", task))
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise UserError(f"{config}: {first_mistake(error, kind.model_fields)}") from error


def _fit(trainer: TorchTrainer, *, verbose: bool) -> None:
    """Run the workers, again where one was lost."""
    for trial in range(RETRIES + 1):
        try:
            trainer.fit()
            return
        except (TrainingFailedError, RayActorError) as error:
            check_lost(error, verbose=verbose)
            if trial == RETRIES:
                raise UserError(
                    f"workers were lost {RETRIES + 1} times, last with: {last_line(error)}; "
                    "what is trained stays, run it again"
                ) from error
            say(f"a worker was lost ({last_line(error)}); going on from the last epoch")


def _work(config: dict[str, Any]) -> None:
    """Train in one worker."""
    with suppress(FileNotFoundError):
        os.chdir(config["here"])
    job = job_type(config["job"]["task"]).model_validate(config["job"])
    output = config["output"]
    with Place(output) as place:
        place.pull_state()
        if not (place.folder / STATE / SETTINGS).is_file():
            raise UserError(
                f"{output} is not there on all machines: name a folder that they share, or an "
                "s3:// prefix"
            )
        training = open_training(job)
        everybody = [
            *training.followers(),
            *_trackers(config["track"], job.name or model_name(output)),
            Told(config["board"]),
            Pushed(place),
        ]
        training.fit(place.folder, everybody, get_device())


def _trackers(names: Sequence[str], model: str) -> list[Callback]:
    """Return the trackers of a model's training; UserError where one lacks something."""
    return [TRACKERS[name](model) for name in names]


def _mlflow_settings() -> dict[str, str]:
    """Return what the workers are to know of MLflow, passwords too: no part of any config."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


@contextmanager
def _following(board: Any, line: Progress, epochs: int) -> Iterator[None]:
    """Show what the workers tell: every epoch a line, and the pictures as progress."""
    stop = threading.Event()

    def look(shown: int) -> int:
        """Show what is new after so many rows; return how many there are now."""
        with suppress(RayError):
            done, before, rows = ray.get(board.told.remote(shown), timeout=10)
            if before and not line.done:
                line.before = before * line.total // epochs
                say(f"going on after epoch {before}")
            line.done = round(done * line.total / epochs)
            for row in rows:
                say(_epoch_line(row, epochs))
            return shown + len(rows)
        return shown

    def show() -> None:
        shown = 0
        while not stop.wait(1):
            shown = look(shown)
        look(shown)  # the last epoch is told at the end

    thread = threading.Thread(target=show, name="following", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _epoch_line(row: Mapping[str, float], epochs: int) -> str:
    parts = [f"{name} {value:.3f}" for name, value in row.items() if "/" in name]
    return f"epoch {int(row['epoch'])}/{epochs}: {', '.join(parts)}"


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others on top, group by group."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged
