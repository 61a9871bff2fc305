"""Labelled pictures from COCO JSON (https://cocodataset.org/#format-data)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.training.datasets import Labelled, Pictures, Task, clipped
from lakesight.training.flips import FlipIndices, flip_indices_of
from lakesight.training.sample import Floats, xywhr_to_quads

Annotation = Mapping[str, Any]
IMAGE_FIELDS = frozenset(
    {"id", "width", "height", "file_name", "license", "flickr_url", "coco_url", "date_captured"}
)


def open_coco(annotations: Path, images: Path, task: Task) -> Pictures:
    """Open COCO JSON; the file names in it are relative to `images`.

    Class ids follow the order of the categories' ids. Crowds are kept apart (`Labelled.crowd`);
    what an image says beyond COCO's own fields are its `kinds`. Raises UserError for annotations of
    unknown pictures or categories, boxes outside their picture, and for what the task needs and an
    annotation lacks.
    """
    content = read_json(annotations)
    categories = sorted(content["categories"], key=lambda each: each["id"])
    class_ids = {each["id"]: number for number, each in enumerate(categories)}
    by_picture: dict[int, list[Annotation]] = {each["id"]: [] for each in content["images"]}
    crowds: dict[int, list[Annotation]] = {number: [] for number in by_picture}
    for annotation in content["annotations"]:
        _check_annotation(annotation, by_picture, class_ids, annotations)
        several = crowds if annotation.get("iscrowd") else by_picture
        several[annotation["image_id"]].append(annotation)
    labelled = partial(_from_coco, class_ids=class_ids, folder=images, task=task)
    pictures = [
        replace(
            labelled(image, by_picture[image["id"]]),
            crowd=labelled(image, crowd) if (crowd := crowds[image["id"]]) else None,
            kinds=_kinds(image),
        )
        for image in content["images"]
    ]
    labels = tuple(each["name"] for each in categories)
    flips = _flip_indices(categories) if task == "pose" else None
    return Pictures(labels, pictures, task, flip_indices=flips)


def _flip_indices(categories: Sequence[Mapping[str, Any]]) -> FlipIndices | None:
    """Return what all categories with names of keypoints agree on."""
    found = {flip_indices_of(names) for each in categories if (names := each.get("keypoints"))}
    return found.pop() if len(found) == 1 else None


def _kinds(image: Mapping[str, Any]) -> dict[str, str]:
    """Return what an image says of itself beyond COCO's own fields, such as its camera."""
    return {
        name: str(value)
        for name, value in image.items()
        if name not in IMAGE_FIELDS and isinstance(value, str | int)
    }


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a COCO file, or raise UserError saying what it lacks."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} as JSON: {error}") from error
    missing = {"images", "annotations", "categories"} - content.keys()
    if missing:
        raise UserError(f"{path} is no COCO file: it lacks {', '.join(sorted(missing))}")
    found: dict[str, Any] = content
    return found


def _check_annotation(
    annotation: Annotation,
    pictures: Mapping[int, object],
    class_ids: Mapping[int, int],
    where: Path,
) -> None:
    name = f"{where}: annotation {annotation.get('id')}"
    if annotation["image_id"] not in pictures:
        raise UserError(f"{name} is of picture {annotation['image_id']}, which is not in `images`")
    if annotation["category_id"] not in class_ids:
        raise UserError(
            f"{name} is of category {annotation['category_id']}, which is not in `categories`"
        )


def _from_coco(
    image: Mapping[str, Any],
    annotations: Sequence[Annotation],
    class_ids: Mapping[int, int],
    folder: Path,
    task: Task,
) -> Labelled:
    size = image["width"], image["height"]
    boxes = np.array([each["bbox"] for each in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    path = folder / image["file_name"]
    ids = np.array([class_ids[each["category_id"]] for each in annotations], np.int64)
    return Labelled(
        path=path,
        size_wh=size,
        boxes_xyxy=clipped(boxes, size, str(path)),
        class_ids=ids,
        shapes=_needed(annotations, "segmentation", task == "segment", path),
        keypoints=_keypoints(_needed(annotations, "keypoints", task == "pose", path)),
        quads=_quads(_needed(annotations, "obb", task == "obb", path)),
        areas=_areas(annotations),
    )


def _areas(annotations: Sequence[Annotation]) -> npt.NDArray[np.float64] | None:
    """Return the areas that annotations give; None where one of them gives none."""
    areas = [each["area"] for each in annotations if "area" in each]
    return np.array(areas, np.float64) if len(areas) == len(annotations) else None


def _needed(
    annotations: Sequence[Annotation], name: str, is_needed: bool, path: Path
) -> tuple[Any, ...]:
    """Return a field of every annotation, where the task needs it."""
    if not is_needed:
        return ()
    if any(not each.get(name) for each in annotations):
        raise UserError(f"an annotation of {path} has no {name}, which this task needs")
    return tuple(each[name] for each in annotations)


def _keypoints(flat: Sequence[Sequence[float]]) -> Floats | None:
    if not flat:
        return None
    return np.array(flat, np.float32).reshape(len(flat), -1, 3)


def _quads(xywhr: Sequence[Sequence[float]]) -> Floats | None:
    return xywhr_to_quads(np.array(xywhr, np.float32)) if xywhr else None
