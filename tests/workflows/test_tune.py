"""`lakesight tune` on real Ray Tune: killed and gone on, trials that end early or fail."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from PIL import Image

from actors.pools import Node
from lakesight.errors import UserError
from lakesight.files import LOCK
from lakesight.models import catalog
from lakesight.training.loop import CHECKPOINT, STATE
from lakesight.training.search import default_space
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.flips import COCO_FLIP_INDICES
from lakesight.training.yolo.job import TrainJob
from tests import yolo_folders
from tests.annotating import start, wait_until
from tests.documented import documented
from workflows.__main__ import main
from workflows.train import Train
from workflows.tune import Tune

COLOURS = {"blue": (20, 30, 220), "green": (20, 200, 40), "red": (220, 30, 20), "white": (240,) * 3}
SPACE = {
    "learning_rate": {"low": 1e-9, "high": 1e9, "log": True},
    "momentum": {"low": 0.8, "high": 0.95},
}
SEED = 150
"""Gives trial 2 a rate of 5e-4, which learns, trial 3 2e-9, which does not, as the first, and
trial 4 3e7, which breaks."""
EPOCHS = 6
FLAGS = [
    *("--task", "classify", "--epochs", str(EPOCHS), "--image-size", "64", "--batch-size", "4"),
    *("--nominal-batch", "4", "--optimizer", "adamw", "--learning-rate", "1e-9"),
    *("--warmup-epochs", "0", "--seed", str(SEED)),
    *("--search", "asha", "--min-epochs", "2", "--reduction", "4", "--trials", "4"),
]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one colour each, which a network tells apart after a few steps."""
    folder = tmp_path_factory.mktemp("colours")
    for split, count in (("train", 4), ("val", 2)):
        for label, colour in COLOURS.items():
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32 + 8 * number, 40), colour).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def words(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All of a small tuning but its output."""
    folder = tmp_path_factory.mktemp("given")
    yolo_folders.write(folder / "weights", "classify")
    space = folder / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    return [str(colours), "--weights", str(folder / "weights"), "--space", str(space), *FLAGS]


def trials_of(folder: Path) -> dict[int, dict[str, Any]]:
    found = (json.loads(path.read_text()) for path in (folder / "trials").glob("*.json"))
    return {one["number"]: one for one in found}


def rows_of(state: Path) -> list[dict[str, str]]:
    path = state / "results.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def kill_in(state: Path, words: list[str]) -> None:
    """Run a tuning, and kill all of it when a trial of several epochs is in its midst."""
    process = start(*words)
    try:
        wait_until(lambda: len(rows_of(state)) >= 2, process)
    finally:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in tree:
            one.send_signal(signal.SIGSTOP)
        for one in tree:
            one.kill()
        process.communicate()
    psutil.wait_procs(tree, timeout=30)


def mark(checkpoint: Path) -> int:
    """Leave a mark in a checkpoint that a training keeps which goes on; return its epochs."""
    state = torch.load(checkpoint, weights_only=True)
    for row in state["progress"]["history"]:
        row["mark"] = 1.0
    torch.save(state, checkpoint)
    return len(state["progress"]["history"])


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_with_a_model(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "Tuned"
    command = ["tune", *words, str(out)]
    second = out / "trials" / "0002" / STATE
    kill_in(second, command)
    before = trials_of(out)
    assert {number: one["status"] for number, one in before.items()} == {1: "done", 2: "open"}
    written = (out / "trials" / "0001.json").stat().st_mtime_ns
    num_epochs = mark(second / CHECKPOINT)
    assert 2 <= num_epochs < EPOCHS

    process = start(*command, "--json")
    printed, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    told = json.loads(printed)
    assert (told["best"], told["model"]) == (2, str(out / "best"))
    assert [one["number"] for one in told["trials"]] == [1, 2, 3, 4]
    assert "3 of 4 trials to do" in said
    assert [line for line in said.splitlines() if "ray" in line.lower()] == []
    assert "Traceback" not in said

    after = trials_of(out)
    assert (out / "trials" / "0001.json").stat().st_mtime_ns == written
    assert [row["mark"] for row in rows_of(second)] == ["1.0"] * num_epochs + [""] * (
        EPOCHS - num_epochs
    )
    assert [after[n]["status"] for n in (1, 2, 3, 4)] == ["done", "done", "stopped", "failed"]
    assert [len(after[n]["curve"]) for n in (1, 2, 3, 4)] == [EPOCHS, EPOCHS, 2, 0]
    fitness = [after[n]["fitness"] for n in (1, 2, 3, 4)]
    assert fitness == [max(after[n]["curve"], default=0) for n in (1, 2, 3, 4)]
    assert fitness[1] == told["fitness"] > fitness[0]
    assert "nan" in after[4]["message"] or "not finite" in after[4]["message"]
    assert_written(out, words, after[2]["values"])
    assert_again(command, capsys)


def assert_written(out: Path, words: list[str], best: dict[str, float]) -> None:
    names = {one.name for one in out.iterdir()}
    written = {"tuning.yaml", "trials", "trials.csv", "trials.png", "best.yaml", "best"}
    assert names == {*written, LOCK}
    assert (out / "trials.png").read_bytes().startswith(b"\x89PNG")
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "done", "stopped", "failed"]
    assert [float(rows[1][name]) for name in best] == list(best.values())
    card = catalog.resolve(str(out / "best"))
    assert (card.name, card.labels) == ("tuned", tuple(COLOURS))

    trained = yaml.safe_load((out / "trials" / "0002" / STATE / "settings.yaml").read_text())
    again = Train(data=words[0], output="model", config=out / "best.yaml").job()
    assert again == TrainJob.model_validate(trained)


def assert_again(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is done where all is done, and another tuning is refused."""
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Nothing to do" in printed
    assert "learning_rate" in printed
    assert main([*command, "--reduction", "3"]) == 2
    assert "holds a tuning with other settings (reduction: 4.0, now 3.0)" in capsys.readouterr().err


def node(cpus: float, gpus: float) -> Node:
    return Node(cpus=cpus, gpus=gpus)


MISTAKES = {
    "no data": (["tune", "{none}", "{out}"], "{none} has no pictures labelled for the task d"),
    "a bucket": (["tune", "{data}", "s3://b/out", *FLAGS], "expected a folder for the trials"),
    "a full folder": (["tune", "{data}", "{data}", *FLAGS], "is not empty: name a new folder"),
    "no space": (["tune", "{data}", "{out}", *FLAGS, "--space", "{none}"], "cannot read the space"),
    "no setting": (
        ["tune", "{data}", "{out}", *FLAGS, "--space", "{space}"],
        "the space's speed is no setting of a training",
    ),
    "no trials": (["tune", "{data}", "{out}", "--trials", "0"], "--trials"),
    "no cluster": (
        ["tune", "{data}", "{out}", *FLAGS, "--address", "127.0.0.1:9"],
        "cannot join the Ray cluster at '127.0.0.1:9'",
    ),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    colours: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("speed: {low: 0, high: 1}")
    places = {"data": colours, "out": tmp_path / "out", "none": tmp_path / "none", "space": space}
    assert main([word.format(**places) for word in words]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("lakesight: ")
    assert message.format(**places) in said


@pytest.mark.parametrize(
    ("flags", "nodes", "shares"),
    [
        ({}, [node(8, 0)], (1, {"CPU": 8, "GPU": 0})),
        ({"num_parallel": 3}, [node(8, 0), node(8, 0)], (3, {"CPU": 5, "GPU": 0})),
        ({}, [node(16, 2), node(16, 2)], (4, {"CPU": 8, "GPU": 1})),
        ({"gpus_per_trial": 0.5}, [node(16, 2)], (4, {"CPU": 4, "GPU": 0.5})),
        ({"gpus_per_trial": 0}, [node(16, 2)], (1, {"CPU": 16, "GPU": 0})),
        ({"cpus_per_trial": 2, "num_parallel": 2}, [node(16, 0)], (2, {"CPU": 2, "GPU": 0})),
        ({}, [node(0, 0)], (1, {"CPU": 1, "GPU": 0})),
        ({}, [node(32, 0), node(4, 1)], (1, {"CPU": 4, "GPU": 1})),
    ],
)
def test_trials_share_what_is_there(flags: Any, nodes: list[Node], shares: Any) -> None:
    assert Tune(data="data", output="out", **flags).shares(nodes, can_grow=True) == shares


def test_more_than_this_machine_has_is_refused() -> None:
    tune = Tune(data="data", output="out", gpus_per_trial=2)
    with pytest.raises(UserError, match="2 GPUs, but this machine has 4 and 1: lower"):
        tune.shares([node(4, 1)], can_grow=False)


def test_more_than_a_machine_of_a_cluster_has_is_waited_for_aloud(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nodes = [node(16, 1), node(16, 1)]
    assert Tune(data="data", output="out").shares(nodes, can_grow=True)[0] == 2
    assert capsys.readouterr().err == ""
    Tune(data="data", output="out", gpus_per_trial=2).shares(nodes, can_grow=True)
    Tune(data="data", output="out", cpus_per_trial=32).shares(nodes, can_grow=True)
    first, second = capsys.readouterr().err.splitlines()
    assert "16 CPUs and 2 GPUs, which no machine of the cluster has: waiting" in first
    assert "32 CPUs and 1 GPUs, which no machine of the cluster has: waiting" in second


def test_the_default_space_is_that_of_the_task_and_its_keypoints() -> None:
    tune = Tune(data="data", output="out", task="pose")
    people = Pictures(("person",), [], "pose", flip_indices=COCO_FLIP_INDICES)
    assert tune.hyperparameters(tune.job(), people) == default_space("pose")
    scenes = Pictures(("star",), [], "pose", keypoints_by_place=True)
    left = default_space("pose").keys() - tune.hyperparameters(tune.job(), scenes).keys()
    changes = {"degrees", "shear", "flip_horizontal", "flip_vertical"}
    assert left == {f"augmentation.{name}" for name in changes}


def test_a_space_that_puts_keypoints_out_of_order_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("augmentation.degrees: {low: 0, high: 20}")
    tune = Tune(data="data", output="out", task="pose", space=tmp_path / "space.yaml")
    scenes = Pictures(("star",), [], "pose", keypoints_by_place=True)
    with pytest.raises(UserError, match=r"augmentation\.degrees would make another one the first"):
        tune.hyperparameters(tune.job(), scenes)


def test_the_documented_space_is_one(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(documented("gain", "tuning.md"))
    tune = Tune(data="data", output="out", space=space)
    assert "loss.box" in tune.hyperparameters(tune.job(), Pictures(("cat",), [], "detect"))
