"""Judges: they take pictures and what was found on them, and give an evaluation."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.answers import AnswerJudge
from lakesight.evaluation.captions import CaptionJudge
from lakesight.evaluation.classes import ClassJudge
from lakesight.evaluation.objects import FIELDS, ObjectJudge
from lakesight.evaluation.result import Evaluation
from lakesight.evaluation.retrieval import RetrievalJudge
from lakesight.evaluation.texts import AnyTask, Texts
from lakesight.metrics import Bootstrap
from lakesight.models.base import TextEncoder
from lakesight.schemas import ROW, object_fields
from lakesight.training.yolo.datasets import Pictures

CLASS_ID = "class_id"
P_contra = TypeVar("P_contra", contravariant=True)


class Judge(Protocol[P_contra]):
    """Takes pictures in any order, each once."""

    def update(self, pictures: Sequence[P_contra], found: pa.Array) -> None:
        """Add pictures and a model's column of them; null is a picture it could not look at."""
        ...

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """Return the figures so far; UserError where no picture has a slice."""
        ...


def judge_of(
    dataset: Pictures | Texts, column: pa.Field, encoder: object | None = None
) -> Judge[Any]:
    """Return what judges such a column; UserError where it has not what the task compares.

    `encoder` embeds the texts of a search, and is refused where it embeds none.
    """
    if isinstance(dataset, Texts):
        return _judge_of_texts(dataset, column, encoder)
    field = FIELDS.get(dataset.task, CLASS_ID)
    if field not in object_fields(column.type):
        raise UserError(
            f"the column {column.name!r} has no {field!r}, which the task {dataset.task} compares: "
            f"it suits the task {task_of(column)}"
        )
    return ClassJudge(dataset) if dataset.task == "classify" else ObjectJudge(dataset)


def _judge_of_texts(dataset: Texts, column: pa.Field, encoder: object | None) -> Judge[Any]:
    if (task := task_of(column)) != dataset.task:
        raise UserError(f"the column {column.name!r} suits the task {task}, not {dataset.task}")
    if task == "caption":
        return CaptionJudge(dataset)
    if task == "answer":
        return AnswerJudge()
    if not isinstance(encoder, TextEncoder):
        raise UserError(
            f"to search the column {column.name!r} by captions, their words must be embedded too: "
            "take a model of the family image-text (CLIP, SigLIP, SigLIP2, BLIP, BLIP-2), or for "
            "an output name the one that made it as --text-model"
        )
    return RetrievalJudge(encoder)


def task_of(column: pa.Field) -> AnyTask:
    """Return what a column was made for; UserError for one that no task compares."""
    names = object_fields(column.type)
    for task, name in FIELDS.items():
        if {"label", "score", name} <= names:
            return task
    if {"label", "score", CLASS_ID} <= names:
        return "classify"
    if {"question", "answer"} <= names:
        return "answer"
    if "text" in names or (pa.types.is_string(column.type) and column.name not in ROW.names):
        return "caption"
    if _holds_vectors(column.type):
        return "retrieve"
    raise UserError(
        f"the column {column.name!r} holds {column.type}: no objects, classes, captions, answers "
        "or embeddings"
    )


def _holds_vectors(kind: pa.DataType) -> bool:
    vector = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_fixed_size_list(vector) and pa.types.is_floating(vector.value_type))
