"""`lakesight evaluate`, as a user types it: figures, intervals, slices, plots, and mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest

from lakesight.models.base import Licences
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.folder import Contract, save, view_of
from tests.outputs import write_output, write_pictures
from tests.yolo_folders import SIDE, tiny
from workflows.__main__ import main

LABELS = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with scenes and models that find something on them."""
    root = tmp_path_factory.mktemp("evaluate")
    words = ["--num-images", "2", "--num-val", "6", "--size", "96", "--processes", "1"]
    assert main(["scenes", str(root / "scenes"), *words]) == 0
    tasks: tuple[Task, ...] = ("detect", "classify")
    for task in tasks:
        write_model(root / task, task)
    return root


def write_model(folder: Path, task: Task) -> None:
    """Write a small model whose classes are shapes."""
    network = tiny(task)
    save(
        folder,
        network.state_dict(),
        Contract(**network.architecture.model_dump()),
        name=f"tiny-{task}",
        labels=LABELS,
        view=view_of(network.architecture, SIDE),
        licences=Licences(weights="Apache-2.0", data="CC0-1.0"),
        provenance="Random weights, made by a test.",
    )


def files(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Return the one JSON object that a command prints."""
    capsys.readouterr()
    assert main(["evaluate", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_model_is_judged_and_nothing_is_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(root)
    assert main(["evaluate", str(root / "detect"), str(root / "scenes"), "--bootstrap"]) == 0
    told = capsys.readouterr()
    assert "box: 6 pictures," in told.out
    for word in ("AP50", "small", "medium", "large", "triangle", "heart", "95 % intervals"):
        assert word in told.out
    assert files(root) == before


def test_json_has_every_figure(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(root / "detect"), str(root / "scenes"), "--bootstrap", "--slice", "label"]
    found = evaluated(capsys, *words)
    assert (found["task"], found["split"]) == ("detect", "val")
    box = found["results"]["box"]
    assert {"map", "map50", "sizes", "classes", "confusion", "intervals"} <= set(box)
    assert box["intervals"]["map"][0] <= box["map"] <= box["intervals"]["map"][1]
    assert len(box["confusion"]["counts"]) == 13
    kinds = found["slices"]["label"].values()
    assert sum(one["box"]["num_pictures"] for one in kinds) == 6
    unsure = evaluated(capsys, *words[:2], "--set", "score_threshold=0.9")["results"]["box"]
    assert unsure["num_found"] < box["num_found"]


def test_a_classifier_and_its_plots(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(root / "classify"), str(root / "scenes")]
    assert main([*words, "--plots", str(tmp_path / "plots")]) == 0
    told = capsys.readouterr()
    assert "6 pictures: top-1" in told.out
    assert f"Wrote plots to {tmp_path / 'plots'}" in told.err
    for name in ("classes_confusion.png", "samples.png"):
        assert (tmp_path / "plots" / name).stat().st_size > 1000
    assert main([*words, "--multi-label"]) == 0
    assert "6 pictures: mAP" in capsys.readouterr().out


def test_samples_are_drawn_for_a_detector(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(root / "detect"), str(root / "scenes"), "--plots", str(tmp_path)]
    assert main(words) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"box_precision_recall.png", "box_confusion.png", "samples.png"} <= names


@pytest.fixture(scope="module")
def output(root: Path) -> Path:
    """Return an output of pictures, one of them broken."""
    write_pictures(str(root / "photos"), ["a.jpg", "b.jpg", "broken.jpg"])
    write_output(str(root / "photos"), str(root / "seen"))
    return root / "seen"


def labels_file(folder: Path) -> Path:
    """Write one bus on each picture, and on one that nobody has looked at."""
    names = ["a.jpg", "broken.jpg", "new.jpg"]
    sizes = {"width": 96, "height": 64}
    content = {
        "images": [{"id": n, "file_name": name, **sizes} for n, name in enumerate(names)],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [8, 6, 52, 52]} for n in range(3)
        ],
        "categories": [{"id": 1, "name": "bus"}, {"id": 2, "name": "person"}],
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_an_output_is_judged_by_what_it_holds(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(labels_file(tmp_path))
    before = files(output)
    words = ["evaluate", str(output), labels, "--task", "detect"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "box: 2 pictures, 2 objects" in told.out
    assert told.err.count("note: ") == 4
    assert "of classes that the labels lack, 1 such as dog: they do not count" in told.err
    assert "note: the output lacks 1 pictures such as" in told.err
    assert "note: the labels lack 1 pictures such as" in told.err
    assert "note: 1 picture has no value, which counts as nothing found" in told.err
    assert files(output) == before
    found = evaluated(capsys, *words[1:], "--column", "detections")
    assert len(found["notes"]) == 4
    whole = evaluated(capsys, str(output), str(output), "--labels.val-fraction", "1")
    assert whole["task"] == "pose"  # the column has keypoints
    assert whole["fitness"] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing", "scenes"], "no model is called 'nothing'"),
        (["detect", "nowhere"], "has no pictures labelled for the task detect, split val"),
        (["detect", "scenes/scenes.json"], "is no COCO file"),
        (["detect", "scenes", "--task", "segment"], "suits the task detect, not segment"),
        (["detect", "scenes", "--split", "test"], "has the splits train and val"),
        (["detect", "scenes", "--column", "detections"], "there is no output of Lakesight at"),
        (["detect", "scenes", "--slice", "camera"], "no picture has the slice 'camera'"),
        (["detect", "scenes", "--set", "score"], "--set wants OPTION=VALUE"),
        (["detect", "scenes", "--set", "speed=9"], "option speed of tiny-detect"),
        (
            ["detect", "scenes", "--set", "score_threshold=["],
            "option score_threshold of tiny-detect",
        ),
        (["detect", "scenes", "--plots", "detect/card.json"], "expected a folder for the plots"),
        (["seen", "scenes", "--set", "top_k=9"], "is judged by the rows that it holds, and --set"),
        (["seen", "scenes", "--runtime", "torch"], "and --runtime is for a model"),
        (["seen", "scenes", "--batch-size", "2"], "and --batch-size is for a model"),
        (["movenet-lightning", "scenes"], "looks at what a detector found"),
    ],
)
def test_mistakes_are_said_in_one_line(
    root: Path,
    output: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(root)
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
