"""Tasks: one entry each names a training, data and a judge, which all commands follow."""

import json
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import TASKS, judging_of, task_of
from lakesight.schemas import ANSWERS, CAPTIONS, CLASSES, detection_type, embedding_type
from lakesight.training.families import job_type
from lakesight.training.yolo.datasets import Task
from workflows.__main__ import load, main

from .counting import TASK


def test_a_task_is_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TASKS, "count", TASK)
    scenes = str(tmp_path / "scenes")
    words = ["--num-images", "1", "--num-val", "4", "--size", "96", "--processes", "1"]
    assert main(["scenes", scenes, *words]) == 0
    model = lakesight.train(scenes, str(tmp_path / "model"), task="count")
    result = model.evaluate(scenes, task="count")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "model"), scenes, "--task", "count", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "count"
    assert told["results"] == result.to_dict()["results"]
    fields = load("train", ["train", "d", "o", "--task=count"]).model_fields
    assert {"side", "num_workers"} <= fields.keys()
    assert "image_size" not in fields


def test_every_task_is_trained_or_judged() -> None:
    assert set(get_args(Task)) <= TASKS.keys()
    for name, task in TASKS.items():
        assert task.training or task.judging
        if task.training:
            assert job_type(name).model_validate({"data": "d", "task": name}).task == name
        assert all(TASKS[part].judging for part in task.parts)


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (pa.field("detections", detection_type()), "detect"),
        (pa.field("detections", detection_type(masks=True)), "segment"),
        (pa.field("detections", detection_type(keypoints=True)), "pose"),
        (pa.field("classes", CLASSES), "classify"),
        (pa.field("caption", pa.string()), "caption"),
        (pa.field("captions", CAPTIONS), "caption"),
        (pa.field("answers", ANSWERS), "answer"),
        (pa.field("embedding", embedding_type(8)), "retrieve"),
        (pa.field("embeddings", pa.list_(embedding_type(8))), "retrieve"),
    ],
)
def test_a_column_tells_its_task(column: pa.Field, task: str) -> None:
    assert task_of(column) == task
    assert judging_of(task).fits(column)


def test_what_is_no_task_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="the task write is judged as caption or answer: name one"):
        judging_of("write")
    with pytest.raises(UserError, match=r"one of obb, .*, retrieve, but got 'count'$"):
        judging_of("count")
    with pytest.raises(UserError, match="no objects, classes, captions, answers or embeddings"):
        task_of(pa.field("width", pa.int32()))
    assert main(["train", "scenes", "model", "--task", "caption"]) == 2
    said = capsys.readouterr().err
    assert "expected a task, one of obb, segment, pose, detect, classify, write, retrieve" in said
