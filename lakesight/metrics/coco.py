"""Truth and results from COCO's JSON files (cocodataset.org, data format and results format)."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lakesight.errors import UserError
from lakesight.masks import Rle
from lakesight.metrics.objects import Key, Predictions, Task, Truth
from lakesight.polygons import encode_segmentation

KeyField = Literal["id", "file_name"]
Annotation = Mapping[str, Any]


@dataclass(frozen=True)
class CocoTruth:
    """A COCO data set: what `DetectionEvaluator` needs of it."""

    labels: tuple[str, ...]
    """Names of the categories by rising id: places are our class ids."""
    truths: tuple[Truth, ...]
    """One per image, also where nothing is on it."""
    class_ids: dict[int, int]
    """Our class id by category id."""
    keys: dict[int, Key]
    """The key of a picture by image id."""


def load_coco(path: str | Path, task: Task = "box", *, key: KeyField = "file_name") -> CocoTruth:
    """Read the truth of a COCO file; pictures are keyed by file name or by image id.

    Rotated boxes are read from `obb`: centre x, y, width, height, angle in radians. Areas and
    crowds are read; `ignore` is not, as COCO's own evaluation does not read it either.
    UserError where something is missing or refers to nothing.
    """
    content = _read(path)
    if not isinstance(content, dict) or not {"images", "categories", "annotations"} <= set(content):
        raise UserError(f"{path} must have images, categories and annotations, as COCO's files do")
    categories = sorted(content["categories"], key=lambda category: category["id"])
    class_ids = {category["id"]: number for number, category in enumerate(categories)}
    images = {image["id"]: image for image in content["images"]}
    by_image = _by_image(path, content["annotations"], images, class_ids)
    keys: dict[int, Key] = {number: image[key] for number, image in images.items()}
    if len(set(keys.values())) < len(keys):
        raise UserError(f"two images of {path} have one {key}: use key='id'")
    return CocoTruth(
        labels=tuple(category["name"] for category in categories),
        truths=tuple(
            _truth(keys[number], images[number], by_image[number], class_ids, task)
            for number in images
        ),
        class_ids=class_ids,
        keys=keys,
    )


def load_coco_results(
    path: str | Path, truth: CocoTruth, task: Task = "box"
) -> tuple[Predictions, ...]:
    """Read a COCO results file: predictions for every picture of the truth, in its order.

    UserError where a result is of an image or category that the truth lacks.
    """
    results = _read(path)
    if not isinstance(results, list):
        raise UserError(f"{path} must hold a list of results, as COCO's result files do")
    by_image = _by_image(path, results, truth.keys, truth.class_ids)
    return tuple(
        _predictions(key, by_image[number], truth.class_ids, task)
        for number, key in truth.keys.items()
    )


def _read(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a COCO JSON file") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); give a COCO JSON file") from error


def _by_image(
    path: str | Path,
    annotations: Sequence[Annotation],
    images: Mapping[int, object],
    class_ids: Mapping[int, int],
) -> dict[int, list[Annotation]]:
    """Return annotations by image id; UserError where one refers to nothing."""
    by_image: dict[int, list[Annotation]] = defaultdict(list)
    for annotation in annotations:
        image: Any = annotation.get("image_id")
        category: Any = annotation.get("category_id")
        if image not in images or category not in class_ids:
            raise UserError(
                f"{path} has an annotation of image {image!r} and category {category!r}, which are "
                "not both in the data set: do the two files belong together?"
            )
        by_image[image].append(annotation)
    return by_image


def _truth(
    key: Key,
    image: Mapping[str, Any],
    annotations: Sequence[Annotation],
    class_ids: Mapping[int, int],
    task: Task,
) -> Truth:
    areas = [one["area"] for one in annotations if "area" in one]
    return Truth(
        key,
        _ids(annotations, class_ids),
        **_shapes(key, annotations, task, (image.get("height"), image.get("width"))),
        areas=np.array(areas, np.float64) if len(areas) == len(annotations) else None,
        crowd=np.array([one.get("iscrowd", 0) for one in annotations], bool),
    )


def _predictions(
    key: Key, annotations: Sequence[Annotation], class_ids: Mapping[int, int], task: Task
) -> Predictions:
    shapes = _shapes(key, annotations, task, (None, None))
    areas = None
    if task == "box":  # from width and height, as rounding the corners could change the size
        areas = np.array([one["bbox"][2] * one["bbox"][3] for one in annotations], np.float64)
    return Predictions(
        key,
        _ids(annotations, class_ids),
        **shapes,
        areas=areas,
        scores=np.array([one["score"] for one in annotations], np.float64),
    )


def _ids(annotations: Sequence[Annotation], class_ids: Mapping[int, int]) -> Any:
    return np.array([class_ids[one["category_id"]] for one in annotations], np.int64)


def _shapes(
    key: Key, annotations: Sequence[Annotation], task: Task, size: tuple[int | None, int | None]
) -> dict[str, Any]:
    """Return the fields of `Objects` that the task needs; UserError where they are missing."""
    field = {"box": "bbox", "mask": "segmentation", "rotated": "obb"}.get(task, task)
    if any(field not in one for one in annotations):
        raise UserError(f"image {key!r} has annotations without {field}, which {task!r} compares")
    fields: dict[str, Any] = {}
    if task != "mask" and all("bbox" in one for one in annotations):
        fields["boxes_xyxy"] = _corners([one["bbox"] for one in annotations])
    if task == "mask":
        fields["masks"] = [_rle(key, one["segmentation"], size) for one in annotations]
    if task == "keypoints":
        points = [np.reshape(one["keypoints"], (-1, 3)) for one in annotations]
        fields["keypoints"] = np.array(points, np.float64)
    if task == "rotated":
        fields["boxes_xywhr"] = np.array([one["obb"] for one in annotations], np.float64)
    return fields


def _corners(boxes_xywh: Sequence[Sequence[float]]) -> Any:
    boxes = np.array(boxes_xywh, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _rle(key: Key, segmentation: Any, size: tuple[int | None, int | None]) -> Rle:
    """Return a mask from polygons, from run lengths, or from a compressed string of them."""
    height, width = size
    if not isinstance(segmentation, dict) and (height is None or width is None):
        raise UserError(f"image {key!r} has polygons, but no height and width to draw them at")
    return encode_segmentation(segmentation, height or 0, width or 0)
