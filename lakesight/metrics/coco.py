"""Truth and results from COCO's JSON files (cocodataset.org, data format and results format)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from lakesight.coco import Annotation, Id, Image, Shapes, read_content, read_json
from lakesight.errors import UserError, first_mistake
from lakesight.metrics.objects import Key, Predictions, Task, Truth
from lakesight.polygons import encode_segmentation

KeyField = Literal["id", "file_name"]


class Result(Shapes):
    """One of a file of results."""

    image_id: Id
    category_id: int
    score: float


@dataclass(frozen=True)
class CocoTruth:
    """A COCO data set: what `DetectionEvaluator` needs of it."""

    labels: tuple[str, ...]
    """Names of the categories by rising id: places are our class ids."""
    truths: tuple[Truth, ...]
    """One per image, also where nothing is on it."""
    class_ids: dict[int, int]
    """Our class id by category id."""
    keys: dict[Id, Key]
    """The key of a picture by image id."""
    sizes_wh: dict[Id, tuple[int, int]]
    """Width and height of a picture by image id."""


def load_coco(path: str | Path, task: Task = "box", *, key: KeyField = "file_name") -> CocoTruth:
    """Read the truth of a COCO file; pictures are keyed by file name or by image id.

    Rotated boxes are read from `obb`: centre x, y, width, height, angle in radians. Areas and
    crowds are read; `ignore` is not, as COCO's own evaluation does not read it either.
    UserError where something is missing or refers to nothing.
    """
    content = read_content(Path(path))
    keys: dict[Id, Key] = {image.id: getattr(image, key) for image in content.images}
    if len(set(keys.values())) < len(keys):
        raise UserError(f"two images of {path} have one {key}: use key='id'")
    by_image, class_ids = content.by_image(), content.class_ids
    return CocoTruth(
        labels=tuple(category.name for category in content.in_order),
        truths=tuple(
            _truth(keys[image.id], image, by_image[image.id], class_ids, task)
            for image in content.images
        ),
        class_ids=class_ids,
        keys=keys,
        sizes_wh={image.id: (image.width, image.height) for image in content.images},
    )


def load_coco_results(
    path: str | Path, truth: CocoTruth, task: Task = "box"
) -> tuple[Predictions, ...]:
    """Read a COCO results file: predictions for every picture of the truth, in its order.

    UserError where a result is of an image or category that the truth lacks.
    """
    results = read_json(Path(path))
    if not isinstance(results, list):
        raise UserError(f"{path} must hold a list of results, as COCO's result files do")
    by_image: dict[Id, list[Result]] = {number: [] for number in truth.keys}
    for result in _results(path, results):
        if result.image_id not in by_image or result.category_id not in truth.class_ids:
            raise UserError(
                f"{path} has a result of image {result.image_id!r} and category "
                f"{result.category_id!r}, which are not both in the data set: do the two files "
                "belong together?"
            )
        by_image[result.image_id].append(result)
    return tuple(_predictions(truth, number, by_image[number], task) for number in truth.keys)


def _results(path: str | Path, results: list[Any]) -> list[Result]:
    try:
        return TypeAdapter(list[Result]).validate_python(results)
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from error


def _truth(
    key: Key,
    image: Image,
    annotations: Sequence[Annotation],
    class_ids: dict[int, int],
    task: Task,
) -> Truth:
    areas = [one.area for one in annotations if one.area is not None]
    return Truth(
        key,
        np.array([class_ids[one.category_id] for one in annotations], np.int64),
        **_shapes(key, annotations, task, (image.width, image.height)),
        areas=np.array(areas, np.float64) if len(areas) == len(annotations) else None,
        crowd=np.array([one.iscrowd or 0 for one in annotations], bool),
    )


def _predictions(
    truth: CocoTruth, number: Id, results: Sequence[Result], task: Task
) -> Predictions:
    key = truth.keys[number]
    shapes = _shapes(key, results, task, truth.sizes_wh[number])
    areas = None
    if task == "box":  # from width and height, as rounding the corners could change the size
        areas = np.array([one.bbox[2] * one.bbox[3] for one in results if one.bbox], np.float64)
    return Predictions(
        key,
        np.array([truth.class_ids[one.category_id] for one in results], np.int64),
        **shapes,
        areas=areas,
        scores=np.array([one.score for one in results], np.float64),
    )


def _shapes(
    key: Key, found: Sequence[Shapes], task: Task, size_wh: tuple[int, int]
) -> dict[str, Any]:
    """Return the fields of `Objects` that the task needs; UserError where they are missing."""
    field = {"box": "bbox", "mask": "segmentation", "rotated": "obb"}.get(task, task)
    if any(getattr(one, field) is None for one in found):
        raise UserError(f"image {key!r} has annotations without {field}, which {task!r} compares")
    fields: dict[str, Any] = {}
    boxes = [one.bbox for one in found if one.bbox is not None]
    if task != "mask" and len(boxes) == len(found):
        fields["boxes_xyxy"] = _corners(boxes)
    if task == "mask":
        width, height = size_wh
        fields["masks"] = [encode_segmentation(one.segmentation, height, width) for one in found]
    if task == "keypoints":
        points = [np.reshape(one.keypoints or (), (-1, 3)) for one in found]
        fields["keypoints"] = np.array(points, np.float64)
    if task == "rotated":
        fields["boxes_xywhr"] = np.array([one.obb for one in found], np.float64)
    return fields


def _corners(boxes_xywh: Sequence[Sequence[float]]) -> Any:
    boxes = np.array(boxes_xywh, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
