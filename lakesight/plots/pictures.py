"""Pictures with what is on them, and beside it what a model found; and batches of a training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from lakesight import masks
from lakesight.evaluation import truth_of
from lakesight.metrics import Predictions, Truth, predictions_from_table
from lakesight.metrics.objects import Ids, Masks
from lakesight.models.base import Image
from lakesight.models.look import Looking, look
from lakesight.plots.overlay import draw_picture
from lakesight.plots.style import new_figure
from lakesight.training.sampling import Shuffled
from lakesight.training.yolo.batches import MASK_REDUCTION, Augmented, Batch, collate
from lakesight.training.yolo.datasets import Dataset, Pictures, Task
from lakesight.training.yolo.settings import TrainSettings

MAX_SHOWN = 16
"""Pictures of a batch that are shown."""
MIN_SCORE = 0.25
"""Less likely detections are not drawn."""


@dataclass(frozen=True)
class Shown:
    """A picture, what is on it, and what was found there."""

    image: Image
    """`(H, W, 3)` RGB, of any size."""
    size_wh: tuple[int, int]
    """Of the picture in whose pixels the objects are."""
    truth: Truth
    found: Predictions | None = None


def beside(pictures: Sequence[Shown], labels: Sequence[str]) -> Figure:
    """Return every picture twice, with its truth and with what was found."""
    figure = new_figure(8, 4 * len(pictures))
    rows = figure.subplots(len(pictures), 2, squeeze=False)
    for (left, right), one in zip(rows, pictures, strict=True):
        found = one.found or Predictions.nothing(one.truth.picture)
        draw_picture(left, one.image, one.size_wh, one.truth, labels)
        draw_picture(right, one.image, one.size_wh, found, labels)
    for axes, title in zip(rows[0], ("truth", "found"), strict=True):
        axes.set_title(f"{title}\n{axes.get_title()}".strip(), fontsize=10)
    return figure


def found_on(
    model: Looking, dataset: Pictures, count: int = 6, min_score: float = MIN_SCORE
) -> list[Shown]:
    """Return some pictures, from the first to the last, with what a model finds on them."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    numbers = [int(number) for number in chosen]
    pictures = [dataset.pictures[number] for number in numbers]
    truths = [truth_of(one, dataset.task) for one in pictures]
    column = look(model, [one.path for one in pictures])
    names = pa.array([str(one.picture) for one in truths], pa.string())
    table = pa.table({"uri": names, "found": column})
    found = predictions_from_table(table, dataset.labels, column="found", unknown="drop")
    return [
        Shown(dataset[number].image, picture.size_wh, truth, _likely(predictions, min_score))
        for number, picture, truth, predictions in zip(
            numbers, pictures, truths, found, strict=True
        )
    ]


def first_batches(
    dataset: Dataset,
    task: Task,
    settings: TrainSettings,
    count: int = 3,
    *,
    multi_label: bool = False,
) -> Iterator[Figure]:
    """Yield the first batches of a training as the network sees them, of one worker."""
    keys = iter(Shuffled(len(dataset), settings.seed, 0, 1))
    pictures = Augmented(dataset, task, settings)
    num_classes = len(dataset.labels) if multi_label else None
    shown = min(MAX_SHOWN, settings.batch_size)
    for _ in range(count):
        if chosen := list(islice(keys, settings.batch_size)):
            batch = collate([pictures[key] for key in chosen[:shown]], num_classes)
            yield seen(batch, dataset.labels)


def seen(batch: Batch, labels: Sequence[str]) -> Figure:
    """Return the pictures of a batch with their truth."""
    pictures = list(_pictures(batch))
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    figure = new_figure(3.2 * columns, 3.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(grid, pictures, strict=False):
        draw_picture(axes, one.image, one.size_wh, one.truth, labels)
    for axes in grid[len(pictures) :]:
        axes.set_axis_off()
    return figure


def _likely(found: Predictions, min_score: float) -> Predictions:
    """Return what scores enough."""
    kept = np.flatnonzero(found.scores >= min_score)
    arrays: dict[str, Any] = {
        each.name: getattr(found, each.name)[kept]
        for each in fields(found)
        if each.name != "picture" and getattr(found, each.name) is not None
    }
    return replace(found, **arrays)


def _pictures(batch: Batch) -> Iterator[Shown]:
    """Yield each picture of a batch and what is on it, in the batch's pixels."""
    images = batch.images.permute(0, 2, 3, 1).clamp(0, 255).byte().numpy()  # (B, H, W, 3)
    height, width = images.shape[1:3]
    for number, image in enumerate(images):
        yield Shown(image, (width, height), _truth(batch, number))


def _truth(batch: Batch, number: int) -> Truth:
    objects = batch.truth.objects
    if not objects.valid.any():
        return Truth(number, _classes(batch, number))
    kept = objects.valid[number]
    boxes = objects.boxes[number][kept].numpy().astype(np.float64)
    is_rotated = boxes.shape[1] == 5
    keypoints, instances = batch.truth.keypoints, batch.truth.instances
    return Truth(
        number,
        objects.class_ids[number][kept].numpy(),
        boxes_xyxy=None if is_rotated else boxes,
        boxes_xywhr=boxes if is_rotated else None,
        keypoints=None if keypoints is None else keypoints[number][kept].numpy(),
        masks=None if instances is None else _masks(instances[number].numpy(), len(boxes)),
    )


def _classes(batch: Batch, number: int) -> Ids:
    """Return the classes of a picture that is classified."""
    ids = batch.class_ids[number]
    if ids.ndim:
        return np.flatnonzero(ids.numpy())
    return np.array([int(ids)] if ids >= 0 else [], np.int64)


def _masks(instances: Ids, count: int) -> Masks:
    """Return the mask of every object, from a map at the size of the prototypes."""
    whole = instances.repeat(MASK_REDUCTION, axis=0).repeat(MASK_REDUCTION, axis=1)
    return np.array([masks.encode(whole == one + 1) for one in range(count)], object)
