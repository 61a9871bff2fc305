"""Callbacks of real, tiny trainings, read back with TensorBoard's reader and from a real server."""

import contextlib
import csv
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lakesight.errors import UserError
from lakesight.training.callbacks import CsvLog, Curves, MLflow, TensorBoard
from lakesight.training.loop import Callback, Progress, Trainer
from lakesight.training.yolo.recipe import YoloRecipe
from lakesight.training.yolo.settings import TrainSettings
from tests.clusters import free_ports
from tests.documented import documented
from tests.lakesight.training.coloured import Coloured
from tests.yolo_folders import build_network

SIDE = 32
URI = "MLFLOW_TRACKING_URI"


class Kill(Callback):
    """Ends the process, as far as the training is concerned, when so many epochs are done."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch(self, progress: Progress) -> None:
        if progress.epoch == self.epoch:
            raise KeyboardInterrupt


def train(folder: Path, epochs: int, *callbacks: Callback) -> Progress:
    """Train from where the folder's checkpoint is; where a callback kills, say how far it came."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    network = build_network("classify", "n", 2, width=0.125, depth=0.33)
    settings = TrainSettings(epochs=epochs, batch_size=4, image_size=SIDE, warmup_epochs=0)

    def judge(_: object) -> dict[str, float]:
        epoch = trainer.progress.epoch
        return {"classes/top1": epoch / 8, "fitness": epoch / 8}

    recipe = YoloRecipe(network, Coloured(SIDE), judge, settings)
    trainer = Trainer(recipe, settings, folder, callbacks)
    trainer.resume()
    with contextlib.suppress(KeyboardInterrupt):
        trainer.fit()
    return trainer.progress


def test_the_csv_file_has_every_epoch_once(tmp_path: Path) -> None:
    train(tmp_path, 4, CsvLog(), Kill(2))
    done = train(tmp_path, 4, CsvLog())
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "learning_rate", "loss/classes", "classes/top1", "fitness"]
    assert [{name: float(text) for name, text in row.items()} for row in rows] == done.history
    assert [row["epoch"] for row in done.history] == [1, 2, 3, 4]


def test_the_callback_of_the_docs_works(tmp_path: Path) -> None:
    example: dict[str, Any] = {}
    exec(documented("(Callback)"), example)
    train(tmp_path, 2, example["Best"]())
    assert (tmp_path / "best.txt").read_text() == (
        "epoch 1: fitness 0.125\nepoch 2: fitness 0.250\n"
    )


def test_the_curves_are_drawn_at_the_end(tmp_path: Path) -> None:
    train(tmp_path, 2, Curves())
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.part"))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return steps and values as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.parametrize("is_logged", [True, False])
def test_tensorboard_shows_every_epoch_once(tmp_path: Path, is_logged: bool) -> None:
    """Killed right before the second epoch is logged, and right after."""
    callbacks = [TensorBoard(), Kill(2)] if is_logged else [Kill(2), TensorBoard()]
    train(tmp_path, 4, *callbacks)
    done = train(tmp_path, 4, TensorBoard())
    shown = scalars(tmp_path)
    assert shown.keys() == done.history[0].keys()
    for name, values in shown.items():
        assert [step for step, _ in values] == [1, 2, 3, 4]
        np.testing.assert_allclose(
            [value for _, value in values], [row[name] for row in done.history], rtol=1e-6
        )


@pytest.fixture(autouse=True)
def mlflow_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the callback sets for its process within a test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="module", autouse=True)
def starting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a tracking server as early as possible: it takes some seconds to come up."""
    folder, (port,) = tmp_path_factory.mktemp("mlflow"), free_ports(1)
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=log,
            stderr=log,
            env=os.environ | quiet,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def server(starting_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a tracking server that answers, named in the environment."""
    until = time.monotonic() + 240  # where other things run, it takes long
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{starting_server}/health", timeout=5) as answer,
        ):
            if answer.status == 200:
                monkeypatch.setenv(URI, starting_server)
                return starting_server
        time.sleep(0.2)
    raise TimeoutError("the MLflow server did not start")


def test_mlflow_goes_on_with_its_run(server: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    train(tmp_path, 4, Kill(2), MLflow("resumed"))
    first = (tmp_path / "mlflow_run_id").read_text()
    assert MlflowClient(server).get_run(first).info.status == "FAILED"
    done = train(tmp_path, 4, CsvLog(), Curves(), MLflow("resumed"))
    assert (tmp_path / "mlflow_run_id").read_text() == first

    client = MlflowClient(server)
    run = client.get_run(first)
    experiment = client.get_experiment_by_name("resumed")
    assert experiment is not None
    assert [each.info.run_id for each in client.search_runs([experiment.experiment_id])] == [first]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == tmp_path.parent.name, "the folder of the model, not `training`"
    assert run.data.params["image_size"] == "32"
    assert run.data.params["augmentation.mosaic"] == "1.0"
    for name in done.history[0]:
        logged = sorted((each.step, each.value) for each in client.get_metric_history(first, name))
        assert logged == [(row["epoch"], row[name]) for row in done.history]
    names = {each.path for each in client.list_artifacts(first)}
    assert names == {"best.pt", "results.csv", "curves.png"}
    (tmp_path / "back").mkdir()
    back = Path(client.download_artifacts(first, "best.pt", str(tmp_path / "back")))
    assert back.read_bytes() == (tmp_path / "best.pt").read_bytes()


def test_mlflow_begins_another_run_where_its_own_is_gone(server: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "mlflow_run_id").write_text("0" * 32)
    train(tmp_path, 1, MLflow("gone", run_name="cars"))
    run_id = (tmp_path / "mlflow_run_id").read_text()
    run = MlflowClient(server).get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "cars")


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.name.startswith("lakesight")]


def test_a_server_that_is_not_there_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(URI, f"http://127.0.0.1:{free_ports(1)[0]}")
    with caplog.at_level(logging.WARNING):
        done = train(tmp_path, 3, CsvLog(), MLflow())
    assert done.epoch == 3
    assert (tmp_path / "best.pt").is_file()
    fails, lacks = ours(caplog)
    assert fails.startswith("MLflow fails; training goes on, it tries again: ")
    assert lacks.startswith("MLflow lacks the end of this training: ")


def test_a_server_that_comes_back_gets_every_row(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mlflow import MlflowClient

    class ComesBack(Callback):
        def on_epoch(self, progress: Progress) -> None:
            if progress.epoch == 3:
                monkeypatch.setenv(URI, server)

    monkeypatch.setenv(URI, f"http://127.0.0.1:{free_ports(1)[0]}")
    done = train(tmp_path, 4, ComesBack(), MLflow("comes back"))
    assert len(ours(caplog)) == 1
    run_id = (tmp_path / "mlflow_run_id").read_text()
    history = MlflowClient(server).get_metric_history(run_id, "fitness")
    logged = sorted((each.step, each.value) for each in history)
    assert logged == [(row["epoch"], row["fitness"]) for row in done.history]


def test_mlflow_wants_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI, raising=False)
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI"):
        MLflow()
