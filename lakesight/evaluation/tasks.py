"""The tasks: of each, one entry names its training, its data and how it is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation import judging
from lakesight.evaluation.judging import Judge
from lakesight.evaluation.texts import LabelsAsked, Texts, open_pictures, open_words
from lakesight.metrics.language.java import JavaMetric
from lakesight.models.base import Kind
from lakesight.schemas import object_fields
from lakesight.training.blip2.texts import SceneCaptions
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import Split


@dataclass(frozen=True)
class Judging:
    """How it is told how good something is at a task."""

    open: Callable[[LabelsAsked], Any]
    """Open the data: what is `pictures`, has a length, and says its `task`."""
    fits: Callable[[pa.Field], bool]
    """Tell whether a column can be judged."""
    judge: Callable[[Any, object | None], Judge[Any]]
    """Return the judge of a column, by the data and what embeds its texts, where it is searched."""
    columns: tuple[str, ...]
    """Where an output has it: the first that is there."""
    kind: Kind | None = None
    """The kind of model that does it, of a checkpoint that can do more; None: as its card says."""


@dataclass(frozen=True)
class Task:
    """What can be trained for, or judged, or both."""

    training: str | None = None
    """`module:class` of what trains for it: a `lakesight.training.families.Training`."""
    judging: Judging | None = None
    parts: tuple[str, ...] = ()
    """Tasks that it is judged as, where it is several."""


def _objects(*fields: str) -> Callable[[pa.Field], bool]:
    wanted = {*fields}
    return lambda column: wanted <= object_fields(column.type)


YOLO = "lakesight.training.yolo.training:YoloTraining"
_found = partial(Judging, open=open_pictures, judge=judging.judge_objects, columns=("detections",))

TASKS: dict[str, Task] = {
    "obb": Task(YOLO, _found(fits=_objects("label", "score", "obb"))),
    "segment": Task(YOLO, _found(fits=_objects("label", "score", "mask"))),
    "pose": Task(YOLO, _found(fits=_objects("label", "score", "keypoints"))),
    "detect": Task(YOLO, _found(fits=_objects("label", "score", "box"))),
    "classify": Task(
        YOLO,
        Judging(
            open=open_pictures,
            fits=_objects("label", "score", "class_id"),
            judge=judging.judge_classes,
            columns=("classes",),
        ),
    ),
    "caption": Task(
        judging=Judging(
            open=partial(open_words, wanted="captions"),
            fits=judging.holds_captions,
            judge=judging.judge_captions,
            columns=("caption", "captions"),
            kind="caption",
        )
    ),
    "answer": Task(
        judging=Judging(
            open=partial(open_words, wanted="questions"),
            fits=_objects("question", "answer"),
            judge=judging.judge_answers,
            columns=("answers",),
            kind="answer",
        )
    ),
    "write": Task(
        "lakesight.training.blip2.training:SecondStageTraining", parts=("caption", "answer")
    ),
    "retrieve": Task(
        "lakesight.training.blip2.training:FirstStageTraining",
        Judging(
            open=partial(open_words, wanted="captions"),
            fits=judging.holds_vectors,
            judge=judging.judge_search,
            columns=("embeddings", "embedding"),
            kind="embed",
        ),
    ),
}
"""By name; of those that a column fits it is of the first."""


def judging_of(task: str) -> Judging:
    """Return how a task is judged; UserError for one that is not."""
    known = TASKS.get(task, Task())
    if known.parts:
        raise UserError(f"the task {task} is judged as {' or '.join(known.parts)}: name one")
    if known.judging is None:
        judged = ", ".join(name for name, one in TASKS.items() if one.judging)
        raise UserError(f"expected a task that is judged, one of {judged}, but got {task!r}")
    return known.judging


def columns_of(task: str | None = None) -> list[str]:
    """Return where an output has what a task judges, or any of them; what is looked for first."""
    judged = [one.judging for one in TASKS.values() if one.judging]
    wanted = [judging_of(task)] if task else judged
    return list(dict.fromkeys(name for one in wanted for name in one.columns))


def open_labels(
    data: str,
    split: Split,
    task: str,
    *,
    images: str | None = None,
    multi_label: bool = False,
    labels: LakeLabels | None = None,
    captions: SceneCaptions = "captions",
    extra: tuple[JavaMetric, ...] = (),
    rerank: int | None = None,
    local: bool = True,
) -> Pictures | Texts:
    """Open what a task compares with: labelled pictures, captions or questions.

    See `sources.open_data` for the former, and for words `open_texts`, with `captions` of scenes;
    of a search the best `rerank` are looked at again.
    Pictures that are only named need not be here where `local` is false.
    """
    asked = LabelsAsked(
        data, split, task, images, multi_label, labels, captions, extra, rerank, local=local
    )
    opened: Pictures | Texts = judging_of(task).open(asked)
    return opened


def judge_of(
    dataset: Pictures | Texts, column: pa.Field, encoder: object | None = None
) -> Judge[Any]:
    """Return what judges such a column; UserError where it has not what the task compares.

    `encoder` embeds the texts of a search, and is refused where it embeds none.
    """
    judged = judging_of(dataset.task)
    if not judged.fits(column):
        raise UserError(
            f"the column {column.name!r} suits the task {task_of(column)}, not {dataset.task}"
        )
    return judged.judge(dataset, encoder)


def task_of(column: pa.Field) -> str:
    """Return what a column was made for; UserError for one that no task compares."""
    for name, task in TASKS.items():
        if task.judging and task.judging.fits(column):
            return name
    raise UserError(
        f"the column {column.name!r} holds {column.type}: no objects, classes, captions, answers "
        "or embeddings"
    )
