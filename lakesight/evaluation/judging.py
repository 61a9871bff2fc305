"""Judges: they take pictures and what was found on them, and give an evaluation."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.classes import ClassJudge
from lakesight.evaluation.objects import FIELDS, ObjectJudge
from lakesight.evaluation.result import Evaluation
from lakesight.metrics import Bootstrap
from lakesight.schemas import object_fields
from lakesight.training.yolo.datasets import Labelled, Pictures, Task

CLASS_ID = "class_id"


class Judge(Protocol):
    """Takes pictures in any order, each once."""

    def update(self, pictures: Sequence[Labelled], found: pa.Array) -> None:
        """Add pictures and a model's column of them; null is a picture it could not look at."""
        ...

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """Return the figures so far; UserError where no picture has a slice."""
        ...


def judge_of(dataset: Pictures, column: pa.Field) -> Judge:
    """Return what judges such a column; UserError where it has not what the task compares."""
    field = FIELDS.get(dataset.task, CLASS_ID)
    if field not in object_fields(column.type):
        raise UserError(
            f"the column {column.name!r} has no {field!r}, which the task {dataset.task} compares: "
            f"it suits the task {task_of(column)}"
        )
    return ClassJudge(dataset) if dataset.task == "classify" else ObjectJudge(dataset)


def task_of(column: pa.Field) -> Task:
    """Return what a column of detections or classes was made for; UserError for any other."""
    names = object_fields(column.type)
    for task, name in FIELDS.items():
        if {"label", "score", name} <= names:
            return task
    if {"label", "score", CLASS_ID} <= names:
        return "classify"
    raise UserError(f"the column {column.name!r} holds {column.type}: no objects, and no classes")
