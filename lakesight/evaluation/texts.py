"""Pictures with what is said of them, as data to judge by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.metrics.language.java import JavaMetric
from lakesight.training.blip2.texts import SceneCaptions, Told, Wanted, open_texts
from lakesight.training.yolo.datasets import Pictures, Task
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import Split, open_data


@dataclass(frozen=True)
class Texts:
    """A dataset of captions or questions."""

    pictures: Sequence[Told]
    task: str
    extra: tuple[JavaMetric, ...] = ()
    """Figures of captions that need Java, beside the usual."""
    rerank: int | None = None
    """Of a search, how many of the best are looked at again."""

    def __post_init__(self) -> None:
        """Raise UserError for what is of another task."""
        _check_rerank(self.rerank, self.task)
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


def _check_rerank(rerank: int | None, task: str) -> None:
    if rerank is not None and task != "retrieve":
        raise UserError(
            f"the best of a search are looked at again, and the task is {task}: leave --rerank out"
        )


class LabelsAsked(NamedTuple):
    """What to open to compare with, and how: see `tasks.open_labels`."""

    data: str
    split: Split
    task: str
    images: str | None = None
    multi_label: bool = False
    labels: LakeLabels | None = None
    captions: SceneCaptions = "captions"
    extra: tuple[JavaMetric, ...] = ()
    rerank: int | None = None
    local: bool = True


def open_pictures(asked: LabelsAsked) -> Pictures:
    """Open labelled pictures."""
    _check_rerank(asked.rerank, asked.task)
    return open_data(
        asked.data,
        asked.split,
        cast("Task", asked.task),
        images=asked.images,
        multi_label=asked.multi_label,
        labels=asked.labels,
        local=asked.local,
    )


def open_words(asked: LabelsAsked, wanted: Wanted) -> Texts:
    """Open captions or questions."""
    told = open_texts(
        asked.data, asked.split, wanted, asked.images, asked.captions, local=asked.local
    )
    return Texts(told, asked.task, asked.extra, asked.rerank)
