"""Judging a model: it looks at every picture of a dataset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.judging import Judge
from lakesight.evaluation.result import Evaluation
from lakesight.evaluation.tasks import judge_of, judging_of, open_labels, task_of
from lakesight.evaluation.texts import Texts
from lakesight.evaluation.vectors import EveryVector
from lakesight.metrics import Bootstrap
from lakesight.models import catalog
from lakesight.models.base import ImageEncoder, Model, ModelSpec
from lakesight.models.look import BATCH, Looking, look_ahead
from lakesight.training.yolo.datasets import Labelled, Pictures
from lakesight.training.yolo.sources import Split

OPTIONS: dict[str, Any] = {"score_threshold": 0.001, "iou_threshold": 0.7, "max_detections": 300}
"""Of a detector that is to be judged: average precision wants what is unlikely, too."""

EVERY_CLASS = {"top_k": 100_000}
"""Of a classifier that is to be judged."""


class Judged(NamedTuple):
    """A model that is to be judged, and what by."""

    spec: ModelSpec
    """With the options that it is judged with."""
    model: Model
    data: Pictures | Texts


def open_judged(
    spec: ModelSpec,
    options: Mapping[str, Any],
    data: str,
    split: Split = "val",
    task: str | None = None,
    **how: Any,
) -> Judged:
    """Build a model as it is judged, and open labelled pictures to judge it on.

    `options` are those that were asked for, which win over those of an evaluation. Where the task
    is for another of the model's kinds, it is built as that, with the options that both have. `how`
    as of `data_for`.
    """
    kind = judging_of(task).kind if task else None
    if kind is not None and kind != spec.card.kind:
        card = catalog.as_kind(spec.card, kind)
        known = catalog.options_of(card).model_fields
        options = {name: value for name, value in options.items() if name in known}
        spec = catalog.spec_of(card, dict(options), spec.runtime, spec.licences_accepted)
    spec = to_judge(spec, **options)
    model = catalog.build(spec)
    return Judged(spec, model, data_for(model, data, split, task, **how))


def to_judge(spec: ModelSpec, **options: Any) -> ModelSpec:
    """Return a model with the options that it is judged with; those that are given win.

    Raises UserError for one that cannot look at pictures alone.
    """
    if spec.card.kind in ("pose", "caption_crops"):
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
    task: str | None = None,
    *,
    multi_label: bool = False,
    **how: Any,
) -> Pictures | Texts:
    """Open labelled pictures to judge a model on, for the task that it was made for unless given.

    A model of several classes a picture is judged by all of them. `how` as of `open_labels`.
    """
    several = multi_label or bool(model.card.contract.get("multi_label"))
    return open_labels(data, split, task or task_of(model.output), multi_label=several, **how)


def evaluate(
    model: Looking,
    dataset: Pictures | Texts,
    bootstrap: Bootstrap | None = None,
    slices: Sequence[str] = (),
    *,
    batch_size: int = BATCH,
    told: Callable[[int], None] | None = None,
) -> Evaluation:
    """Look at every picture of the dataset with the model, and compare with what is on it.

    Classes are matched by name: those that the dataset lacks do not count, and of those that the
    model lacks nothing is found. Of an image-text model every vector of a picture counts.
    `slices` are names of the pictures' kinds; `told` hears how many pictures are done. Raises
    UserError where a picture cannot be read or has not the size of its labels, or where the model
    does not give what the dataset's task compares.
    """
    judge = open_judge(model, dataset)
    add_pictures(judge, model, dataset, batch_size, told)
    return judge.result(bootstrap, slices)


def open_judge(model: Looking, dataset: Pictures | Texts) -> Judge[Any]:
    """Return what judges a model on a dataset, before it saw any of it; UserError as `evaluate`."""
    if not len(dataset):
        raise UserError("there are no pictures to evaluate on: give a split that has some")
    return judge_of(dataset, model.output, model)


def add_pictures(
    judge: Judge[Any],
    model: Looking,
    dataset: Pictures | Texts,
    batch_size: int = BATCH,
    told: Callable[[int], None] | None = None,
) -> None:
    """Let a judge see what a model finds on every picture of a dataset: see `evaluate`."""
    looking = EveryVector(model) if isinstance(model, ImageEncoder) else model
    done = 0
    for found, sizes_wh in _looked_at(looking, dataset, batch_size):
        pictures = dataset.pictures[done : done + len(found)]
        for picture, size_wh in zip(pictures, sizes_wh, strict=True):
            if isinstance(picture, Labelled):
                picture.check_size(size_wh, str(picture.path))
        judge.update(pictures, found)
        done += len(found)
        if told:
            told(done)


def shares_of(
    dataset: Pictures | Texts, num_shares: int, batch_size: int = BATCH
) -> list[Pictures | Texts]:
    """Return a dataset in at most so many parts, in its order.

    They are of whole batches, so that a model is shown the very same ones.
    """
    num_batches = -(-len(dataset) // batch_size)
    step = -(-num_batches // num_shares) * batch_size
    starts = range(0, len(dataset), step)
    every: Any = dataset  # of which both kinds have pictures
    return [replace(every, pictures=every.pictures[at : at + step]) for at in starts]


def _looked_at(
    model: Looking, dataset: Pictures | Texts, batch_size: int
) -> Iterator[tuple[pa.Array, list[tuple[int, int]]]]:
    """Yield values and sizes as `look_ahead`; UserError for a question that cannot be asked."""
    paths = [one.path for one in dataset.pictures]
    if not isinstance(dataset, Texts):
        yield from look_ahead(model, paths, batch_size)
        return
    done = 0
    try:
        for found in look_ahead(model, paths, batch_size, **dataset.columns()):
            yield found
            done += len(found[0])
    except UserError:
        raise
    except ValueError as error:  # what a row of `annotate` would hold as its error
        raise UserError(f"one of the pictures from {paths[done]} on: {error}") from error
