"""What labels a dataset has: how many of each class, how many a picture, and how large."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lakesight.metrics.objects import Floats, Ids
from lakesight.plots.style import colour, named, new_figure, shown, whole_numbers
from lakesight.training.yolo.datasets import Pictures

MAX_CLASSES = 30
"""So many classes, the most frequent, are shown."""
SMALL_PX, LARGE_PX = 32, 96
"""Sides of the squares that part small, medium and large objects in COCO's metrics."""
BINS = 40


def label_statistics(dataset: Pictures) -> Figure:
    """Return the counts of classes, and where there are boxes their number and sizes.

    Reads no picture.
    """
    ids = np.concatenate([np.zeros(0, np.int64), *(each.class_ids for each in dataset.pictures)])
    counts = np.bincount(ids, minlength=len(dataset.labels)).astype(np.int64)
    what = "pictures" if dataset.task == "classify" else "objects"
    if dataset.task == "classify":
        figure = new_figure(8, 5)
        _classes(figure.subplots(), dataset.labels, counts, what)
        return figure
    figure = new_figure(13, 9)
    (classes, per_picture), (shape, size) = figure.subplots(2, 2)
    _classes(classes, dataset.labels, counts, what)
    _per_picture(per_picture, [len(each.class_ids) for each in dataset.pictures])
    sizes_wh, picture_wh = _sizes(dataset)
    _shape(shape, sizes_wh / picture_wh)
    _size(size, np.sqrt(sizes_wh.prod(1)))
    return figure


def _sizes(dataset: Pictures) -> tuple[Floats, Floats]:
    """Return width and height of every box `(N, 2)` in pixels, and those of its picture."""
    boxes = np.concatenate([np.zeros((0, 4)), *(each.boxes_xyxy for each in dataset.pictures)])
    repeats = [len(each.boxes_xyxy) for each in dataset.pictures]
    pictures = np.array([each.size_wh for each in dataset.pictures], float).reshape(-1, 2)
    return boxes[:, 2:] - boxes[:, :2], np.repeat(pictures, repeats, axis=0)


def _classes(axes: Axes, labels: Sequence[str], counts: Ids, what: str) -> None:
    order = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    title = f"{counts.sum():,} {what} of {len(labels)} classes"
    if len(order) < len(labels):
        title += f"; the {len(order)} most frequent"
    named(axes, title, f"number of {what}", "class")
    bars = axes.barh([shown(labels[one]) for one in order], counts[order], color=colour(0))
    axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.invert_yaxis()
    whole_numbers(axes.xaxis)
    axes.margins(x=0.12)
    axes.tick_params(axis="y", labelsize=8)


def _per_picture(axes: Axes, counts: Sequence[int]) -> None:
    title = f"{len(counts):,} pictures, {counts.count(0):,} without an object"
    named(axes, title, "objects on a picture", "number of pictures")
    most = max(counts, default=0)
    edges = np.arange(most + 2) if most < BINS else np.linspace(0, most + 1, BINS + 1)
    axes.hist(counts, bins=list(edges - 0.5), color=colour(0), edgecolor="white")
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)


def _shape(axes: Axes, parts_wh: Floats) -> None:
    named(axes, "Sizes of boxes", "width, part of the picture's", "height, part of the picture's")
    axes.grid(visible=False)
    if len(parts_wh):
        edges = np.linspace(0, 1, BINS + 1)
        *_, image = axes.hist2d(
            parts_wh[:, 0],
            parts_wh[:, 1],
            bins=[edges, edges],
            norm=LogNorm(vmin=0.3),
            cmap="Blues",
        )
        axes.figure.colorbar(image, ax=axes, label="number of boxes")


def _size(axes: Axes, sides_px: Floats) -> None:
    small, large = (sides_px < SMALL_PX).sum(), (sides_px >= LARGE_PX).sum()
    title = f"{small:,} small, {len(sides_px) - small - large:,} medium, {large:,} large"
    named(axes, title, "root of the box's area, in pixels of its picture", "number of boxes")
    axes.hist(sides_px, bins=BINS, color=colour(0), edgecolor="white")
    for limit in (SMALL_PX, LARGE_PX):
        axes.axvline(limit, color="black", linewidth=0.8, linestyle=":")
    whole_numbers(axes.yaxis)
