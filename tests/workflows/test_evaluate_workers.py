"""`lakesight evaluate --num-workers`, on real Ray: the figures of one process, to the last."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lakesight.models import catalog
from tests.annotating import SHARED, command, run, start
from tests.lakesight.models import tiny
from tests.workflows.test_evaluate import write_model
from tests.workflows.test_evaluate_texts import write_all_vectors
from workflows.__main__ import main

pytestmark = pytest.mark.usefixtures("shared_ray")

ROOT = Path(__file__).parents[2]
TWO = ("--num-workers", "2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of scenes, models, and an output in two files."""
    root = tmp_path_factory.mktemp("workers")
    words = ["--num-images", "0", "--num-val", "6", "--size", "64", "--processes", "1"]
    assert main(["scenes", str(root / "scenes"), *words]) == 0
    write_model(root / "detect", "detect")
    tiny.write("blip2-itc", root / "blip2-itc")
    write_all_vectors(root)
    return root


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Return the one JSON object that a command prints."""
    capsys.readouterr()
    assert main(["evaluate", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def by_two(*words: str, here: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the command with two workers, in a folder: Ray wants a process of its own."""
    done = subprocess.run(
        command("evaluate", *words, *TWO, "--json"),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=here,
        env=os.environ | SHARED | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_model(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)  # paths are those of where the command was given
    words = ["detect", "scenes", "--bootstrap", "--slice", "label", "--batch-size", "1"]
    alone = evaluated(capsys, *words)
    assert alone["results"]["box"]["num_found"] > 0
    assert json.loads(by_two(*words, here=root).stdout) == alone


def test_an_output_that_is_searched(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(root / "every"), str(root / "scenes"), "--task", "retrieve", "--bootstrap"]
    alone = evaluated(capsys, *words)
    assert alone["results"]["retrieval"]["num_image_to_text_queries"] == 6
    assert json.loads(by_two(*words, here=root).stdout) == alone


def test_a_mistake_that_a_worker_finds_is_one_line(root: Path, tmp_path: Path) -> None:
    labels = root / "scenes" / "annotations" / "instances_val.json"
    content = json.loads(labels.read_bytes())
    content["images"][-1]["width"] += 1
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(content))
    images = ["--images", str(root / "scenes" / "images" / "val")]
    error = by_two(str(root / "detect"), str(wrong), *images, here=root, code=2).stderr
    last = error.splitlines()[-1]  # what is said of the data, or of the progress, stands before it
    assert last.startswith("lakesight: ")
    assert "is 64 x 64 pixels upright, its labels say 65 x 64: label it again" in last
    assert "Traceback" not in error
    assert "ray::" not in error


@pytest.mark.parametrize("words", [["--address", "auto"], ["--gpus", "1"], ["--verbose"]])
def test_what_is_for_workers_is_refused_without_them(
    words: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(root / "detect"), str(root / "scenes"), *words]) == 2
    error = capsys.readouterr().err
    assert f"{words[0]} is for workers on Ray: give --num-workers, too" in error


def test_more_workers_than_cpus_are_refused(root: Path) -> None:
    words = ["evaluate", str(root / "detect"), str(root / "scenes"), "--num-workers", "999"]
    assert "999 workers want a CPU each, and there are" in run(*words, code=2, RAY_ADDRESS="")


def judging(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the workers of a command."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "ray::Judging" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = str(tmp_path / "scenes")
    words = ["--num-images", "0", "--num-val", "300", "--size", "320", "--processes", "1"]
    assert main(["scenes", scenes, *words]) == 0
    words = ["starter-yolo-detect", scenes, "--batch-size", "4"]
    assert "starter-yolo-detect" in catalog.built_in()
    process = start("evaluate", *words, *TWO, "--json")
    deadline = time.monotonic() + 120
    while not (workers := judging(process)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers[0].send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out) == evaluated(capsys, *words)
