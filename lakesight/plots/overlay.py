"""A picture and its objects, drawn on axes in the picture's own pixels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from lakesight import masks
from lakesight.draw import COCO_BONES
from lakesight.metrics import Predictions
from lakesight.metrics.objects import Floats, Masks, Objects
from lakesight.models.base import Image
from lakesight.models.rotated import corners
from lakesight.plots.style import colour, shown

MASK_ALPHA = 0.45
ROOM = 0.05
"""Part of the picture's height that a label takes above its box."""
MIN_KEYPOINT_SCORE = 0.3
"""Of found keypoints; those of a truth are 1 or 2 where they are there."""


def draw_picture(
    axes: Axes, image: Image, size_wh: tuple[int, int], objects: Objects, labels: Sequence[str]
) -> None:
    """Draw a picture and its objects, which are in pixels of a picture of `size_wh`.

    Objects without boxes are what a classifier says: they become the title.
    """
    width, height = size_wh
    axes.imshow(image, extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    texts = [_text(objects, number, labels) for number in range(len(objects))]
    if objects.boxes_xyxy is None and objects.boxes_xywhr is None:
        axes.set_title(", ".join(texts) or "nothing", fontsize=8)
        return
    if objects.masks is not None and len(objects):
        _draw_masks(axes, objects.masks, objects.class_ids.tolist(), size_wh)
    if objects.keypoints is not None:
        for points, class_id in zip(objects.keypoints, objects.class_ids.tolist(), strict=True):
            _draw_keypoints(axes, points, colour(class_id))
    for quad, class_id, text in zip(_quads(objects), objects.class_ids, texts, strict=True):
        _draw_outline(axes, quad, colour(int(class_id)), text)


def _text(objects: Objects, number: int, labels: Sequence[str]) -> str:
    name = shown(labels[int(objects.class_ids[number])])
    return f"{name} {objects.scores[number]:.2f}" if isinstance(objects, Predictions) else name


def _quads(objects: Objects) -> Floats:
    """Return the corners `(N, 4, 2)` of the rotated boxes, or of the upright ones."""
    if objects.boxes_xywhr is not None:
        return np.asarray(corners(objects.boxes_xywhr), np.float64)
    assert objects.boxes_xyxy is not None
    x0, y0, x1, y1 = objects.boxes_xyxy.T
    return np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)


def _draw_outline(axes: Axes, quad: Floats, ink: str, text: str) -> None:
    axes.add_patch(Polygon(quad, closed=True, fill=False, edgecolor=ink, linewidth=1.6))
    x, y = np.maximum(0, quad[np.lexsort((quad[:, 0], quad[:, 1]))[0]])
    has_room = y > ROOM * max(axes.get_ylim())
    axes.text(
        float(x),
        float(y),
        text,
        fontsize=6,
        color="white",
        verticalalignment="bottom" if has_room else "top",
        clip_on=True,
        bbox={"facecolor": ink, "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
    )


def _draw_masks(
    axes: Axes, rles: Masks, class_ids: Sequence[int], size_wh: tuple[int, int]
) -> None:
    width, height = size_wh
    layer = np.zeros((height, width, 4), np.uint8)
    for rle, class_id in zip(rles, class_ids, strict=True):
        red, green, blue = (int(colour(class_id)[start : start + 2], 16) for start in (1, 3, 5))
        layer[masks.decode(rle)] = red, green, blue, round(255 * MASK_ALPHA)
    axes.imshow(layer, extent=(0, width, height, 0), interpolation="nearest")


def _draw_keypoints(axes: Axes, points: Floats, ink: str) -> None:
    there = points[:, 2] >= MIN_KEYPOINT_SCORE
    for start, end in COCO_BONES if len(points) == 17 else ():
        if there[start] and there[end]:
            axes.plot(*points[[start, end], :2].T, color=ink, linewidth=1)
    x, y = points[there, :2].T
    axes.scatter(x, y, s=9, color=ink, edgecolors="white", linewidths=0.5, zorder=3)
