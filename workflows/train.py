"""`lakesight train DATA OUTPUT --task detect`: labelled pictures to a model folder."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import yaml
from pydantic import Field, ValidationError
from pydantic_settings import CliPositionalArg
from ray.train import RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer, get_device

from actors.board import Board, Told
from lakesight.errors import UserError
from lakesight.training import callbacks as trackers
from lakesight.training.job import STATE, Data, TrainJob, bind, finish, fit, open_job_data, start
from lakesight.training.loop import Callback
from workflows.cluster import check_reachable, cluster
from workflows.progress import Progress, duration, progress

RAY = "ray"
"""Folder that Ray Train keeps its own files in, while it trains."""
RETRIES = 3
"""How often a training goes on from its last epoch after a worker was lost."""
TRACKERS = {"tensorboard": trackers.TensorBoard, "mlflow": trackers.MLflow}


class Train(TrainJob):
    r"""Train a YOLO on labelled pictures: boxes, masks, keypoints, rotated boxes or classes.

    Run the same command again to go on after an end; it does nothing where it is done.

    Examples:
      lakesight scenes scenes/ && lakesight train scenes/ shapes/ --epochs 20 --image-size 320
      lakesight train data.yaml cars/ --weights starter-yolo-detect --epochs 50
      lakesight train s3://lake/seen cars/ --task segment --num-workers 4 --track mlflow
      lakesight train photos/ kinds/ --task classify --config kinds.yaml
    """

    data: CliPositionalArg[str]
    """Scenes, data.yaml, COCO .json, class folders, or an output of `lakesight annotate`."""
    output: CliPositionalArg[str]
    """Local folder, or one that all machines share: it becomes a model folder."""
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
        folder = Path(self.output)
        job = self.job()
        unknown = [one for one in self.track if one not in TRACKERS]
        if unknown:
            raise UserError(f"--track takes {' or '.join(TRACKERS)}, but got {unknown[0]!r}")
        data = open_job_data(job)
        note = start(job, data.train).note
        if bind(job, folder):
            print(f"Nothing to do: {folder} is trained")
            return 0
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address:
            check_reachable(address)
        _say(
            f"{job.task}: {len(data.train):,} pictures to train on, {len(data.val):,} to validate, "
            f"{len(data.train.labels)} classes; {note}"
        )
        began = time.perf_counter()
        with cluster(address, verbose=self.verbose) as nodes:
            gpus = sum(node.gpus for node in nodes) if self.gpus is None else self.gpus
            cpus = sum(node.cpus for node in nodes)
            resources = {"CPU": max(1, int(cpus // self.num_workers))}
            self._train(job, data, folder, resources, use_gpu=gpus >= self.num_workers)
            shutil.rmtree(folder / STATE / RAY, ignore_errors=True)
        card, result = finish(job, data, folder)
        if self.json_output:
            print(json.dumps({"model": str(folder), **result.to_dict()}))
        else:
            print(result.table())
        print(
            f"Wrote {card.name} to {folder} in {duration(time.perf_counter() - began)}; its curve "
            f"is in {folder / STATE / 'results.csv'}"
        )
        return 0

    def job(self) -> TrainJob:
        """Return the training without what is said of the machines; UserError for a bad file."""
        given = self.model_dump(exclude_unset=True, include=set(TrainJob.model_fields))
        if self.config is None:
            return TrainJob(**given)
        try:
            written = yaml.safe_load(self.config.read_text(encoding="utf-8")) or {}
            return TrainJob(**_merged(written, given))
        except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
            raise UserError(f"cannot read the settings in {self.config}: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{self.config}: {where}: {first['msg']}") from error

    def _train(
        self,
        job: TrainJob,
        data: Data,
        folder: Path,
        resources: Mapping[str, float],
        *,
        use_gpu: bool,
    ) -> None:
        """Run the workers, again where one was lost."""
        board = Board.remote()  # type: ignore[attr-defined]  # Ray's decorator adds it
        state = (folder / STATE).resolve()
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "job": job.model_dump(mode="json"),
                "output": str(folder.resolve()),
                "here": str(Path.cwd()),
                "track": self.track,
                "board": board,
            },
            scaling_config=ScalingConfig(
                num_workers=self.num_workers, use_gpu=use_gpu, resources_per_worker=dict(resources)
            ),
            run_config=RunConfig(name=RAY, storage_path=str(state)),
        )
        with progress(job.epochs * len(data.train)) as line, _following(board, line, job.epochs):
            for trial in range(RETRIES + 1):
                try:
                    trainer.fit()
                    return
                except WorkerGroupError as error:
                    _raise_mistake(error)
                    if trial == RETRIES:
                        raise UserError(
                            f"workers ended {RETRIES + 1} times, last with: {_last_line(error)}; "
                            "what is trained stays, run it again"
                        ) from error
                    _say("a worker was lost; going on from the last epoch")


def _work(config: dict[str, Any]) -> None:
    """Train in one worker."""
    with suppress(FileNotFoundError):
        os.chdir(config["here"])
    job = TrainJob.model_validate(config["job"])
    following: list[Callback] = [trackers.CsvLog(), Told(config["board"])]
    following += [TRACKERS[name]() for name in config["track"]]
    fit(job, open_job_data(job), Path(config["output"]), following, get_device())


@contextmanager
def _following(board: Any, line: Progress, epochs: int) -> Iterator[None]:
    """Show what the workers tell: every epoch a line, and the pictures as progress."""
    stop = threading.Event()

    def show() -> None:
        shown = 0
        while not stop.wait(1):
            with suppress(ray.exceptions.RayError):
                done, rows = ray.get(board.told.remote(shown))
                line.done = round(done * line.total / epochs)
                for row in rows:
                    _say(_epoch_line(row, epochs))
                shown += len(rows)

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


def _raise_mistake(error: WorkerGroupError) -> None:
    """Raise the UserError that ended a worker, if one did."""
    for failure in error.worker_failures.values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, UserError):
                raise UserError(str(cause).splitlines()[0]) from error
            cause = getattr(cause, "cause", None) or cause.__cause__


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others on top, group by group."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
