"""A task of its own: how many objects are on a picture. Its training writes a tiny YOLO."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import torch

from lakesight.evaluation import Evaluation
from lakesight.evaluation.labels import lengths
from lakesight.evaluation.result import of_one
from lakesight.evaluation.tasks import Judging, Task
from lakesight.evaluation.texts import LabelsAsked
from lakesight.metrics import Bootstrap, ClassEvaluator
from lakesight.models.base import ModelCard
from lakesight.schemas import object_fields
from lakesight.training.job import Job
from lakesight.training.loop import Callback, Progress
from lakesight.training.yolo.datasets import Labelled, Pictures
from lakesight.training.yolo.sources import open_data
from tests import yolo_folders

NUMBERS = tuple(map(str, range(11)))
MOST = len(NUMBERS) - 1


def opened(asked: LabelsAsked) -> Pictures:
    found = open_data(asked.data, asked.split, "detect", images=asked.images)
    return replace(found, task=cast("Any", asked.task))


class CountJudge:
    """Judges how many objects were found."""

    def __init__(self, _: Pictures, __: object | None) -> None:
        self.evaluator = ClassEvaluator(NUMBERS)

    def update(self, pictures: Sequence[Labelled], found: pa.Array) -> None:
        truth = [min(MOST, len(one.class_ids)) for one in pictures]
        scores = np.eye(len(NUMBERS))[np.minimum(MOST, lengths(found))]
        self.evaluator.update([str(one.path) for one in pictures], truth, scores)

    def merge(self, other: "CountJudge") -> None:
        self.evaluator.merge(other.evaluator)

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        return of_one("count", self.evaluator, bootstrap, slices, ())


class CountJob(Job):
    """Train what counts."""

    task: Literal["count"] = "count"
    """What for."""
    side: int = 96
    """Of a picture, in pixels."""


class CountTraining:
    """Writes a tiny YOLO."""

    Job = CountJob
    num_examples = 1

    def __init__(self, job: CountJob) -> None:
        self.job = job

    def told(self) -> str:
        return "count: nothing to learn"

    def followers(self) -> list[Callback]:
        return []

    def fit(
        self,
        folder: Path,
        callbacks: Sequence[Callback] = (),
        device: torch.device | None = None,
    ) -> Progress:
        return Progress()

    def finish(self, folder: Path, shown: str | None = None) -> tuple[ModelCard, Evaluation]:
        draft = folder.with_name("draft")
        card = yolo_folders.write(draft, "detect")
        for path in draft.iterdir():
            path.replace(folder / path.name)
        return card, Evaluation({})


TASK = Task(
    f"{__name__}:CountTraining",
    Judging(
        open=opened,
        fits=lambda column: "box" in object_fields(column.type),
        judge=CountJudge,
        columns=("detections",),
        kind="detect",
    ),
)
