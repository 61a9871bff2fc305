"""Pictures with what is said of them, as data to judge by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.metrics.language.java import JavaMetric
from lakesight.training.blip2.texts import SceneCaptions, Told, Wanted, open_texts
from lakesight.training.yolo.datasets import Pictures, Task
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import Split, open_data

TextTask = Literal["caption", "answer", "retrieve"]
AnyTask = Literal[Task, TextTask]

WANTED: dict[TextTask, Wanted] = {
    "caption": "captions",
    "answer": "questions",
    "retrieve": "captions",
}
"""What of a picture is compared."""


@dataclass(frozen=True)
class Texts:
    """A dataset of captions or questions."""

    pictures: Sequence[Told]
    task: TextTask
    extra: tuple[JavaMetric, ...] = ()
    """Figures of captions that need Java, beside the usual."""

    def __post_init__(self) -> None:
        """Raise UserError for an extra figure of anything but captions."""
        if self.extra and self.task != "caption":
            raise UserError(
                f"{' and '.join(self.extra)} are figures of captions, and the task is {self.task}: "
                "leave --extra out"
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def columns(self) -> dict[str, pa.Array]:
        """Return what a model is told of each picture: its `questions`, to answer them."""
        if self.task != "answer":
            return {}
        asked = [[question.text for question in one.questions] for one in self.pictures]
        return {"questions": pa.array(asked, pa.list_(pa.string()))}


def open_labels(
    data: str,
    split: Split,
    task: AnyTask,
    *,
    images: str | None = None,
    multi_label: bool = False,
    labels: LakeLabels | None = None,
    captions: SceneCaptions = "captions",
    extra: tuple[JavaMetric, ...] = (),
    local: bool = True,
) -> Pictures | Texts:
    """Open what a task compares with: labelled pictures, captions or questions.

    See `sources.open_data` for the former, and for words `open_texts`, with `captions` of scenes;
    their pictures need not be here where `local` is false.
    """
    if task == "caption" or task == "answer" or task == "retrieve":
        told = open_texts(data, split, WANTED[task], images, captions, local=local)
        return Texts(told, task, extra)
    return open_data(data, split, task, images=images, multi_label=multi_label, labels=labels)
