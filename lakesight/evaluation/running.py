"""Judging a model: it looks at every picture of a dataset."""

from collections.abc import Callable, Sequence
from typing import Any

from lakesight.errors import UserError
from lakesight.evaluation.judging import judge_of, task_of
from lakesight.evaluation.result import Evaluation
from lakesight.metrics import Bootstrap
from lakesight.models import catalog
from lakesight.models.base import Model, ModelSpec
from lakesight.models.look import BATCH, Looking, look_ahead
from lakesight.training.yolo.datasets import Pictures, Task
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import Split, open_data

OPTIONS: dict[str, Any] = {"score_threshold": 0.001, "iou_threshold": 0.7, "max_detections": 300}
"""Of a detector that is to be judged: average precision wants what is unlikely, too."""

EVERY_CLASS = {"top_k": 100_000}
"""Of a classifier that is to be judged."""


def to_judge(spec: ModelSpec, **options: Any) -> ModelSpec:
    """Return a model with the options that it is judged with; those that are given win.

    Raises UserError for one that cannot look at pictures alone.
    """
    if spec.card.kind == "pose":
        raise UserError(
            f"{spec.card.name} looks at what a detector found: annotate with both, then evaluate "
            "the output"
        )
    known = catalog.options_of(spec.card).model_fields
    wanted = {name: one for name, one in (OPTIONS | EVERY_CLASS).items() if name in known}
    return spec.model_copy(update={"options": {**spec.options, **wanted, **options}})


def data_for(
    model: Model,
    data: str,
    split: Split,
    task: Task | None = None,
    *,
    images: str | None = None,
    multi_label: bool = False,
    labels: LakeLabels | None = None,
) -> Pictures:
    """Open labelled pictures to judge a model on, for the task that it was made for unless given.

    A model of several classes a picture is judged by all of them. See `sources.open_data`.
    """
    several = multi_label or bool(model.card.contract.get("multi_label"))
    chosen = task or task_of(model.output)
    return open_data(data, split, chosen, images=images, multi_label=several, labels=labels)


def evaluate(
    model: Looking,
    dataset: Pictures,
    bootstrap: Bootstrap | None = None,
    slices: Sequence[str] = (),
    *,
    batch_size: int = BATCH,
    told: Callable[[int], None] | None = None,
) -> Evaluation:
    """Look at every picture of the dataset with the model, and compare with what is on it.

    Classes are matched by name: those that the dataset lacks do not count, and of those that the
    model lacks nothing is found. `slices` are names of `Labelled.kinds`; `told` hears how many
    pictures are done. Raises UserError where a picture cannot be read or has not the size of its
    labels, or where the model does not give what the dataset's task compares.
    """
    if not len(dataset):
        raise UserError("there are no pictures to evaluate on: give a split that has some")
    judge = judge_of(dataset, model.output)
    done = 0
    for found, sizes_wh in look_ahead(model, [one.path for one in dataset.pictures], batch_size):
        pictures = dataset.pictures[done : done + len(found)]
        for picture, size_wh in zip(pictures, sizes_wh, strict=True):
            picture.check_size(size_wh, str(picture.path))
        judge.update(pictures, found)
        done += len(found)
        if told:
            told(done)
    return judge.result(bootstrap, slices)
