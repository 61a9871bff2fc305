"""Labelled pictures from COCO JSON (https://cocodataset.org/#format-data)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, FiniteFloat, PositiveInt, ValidationError

from lakesight.errors import UserError, first_mistake
from lakesight.training.yolo.datasets import Labelled, Pictures, Task
from lakesight.training.yolo.flips import FlipIndices, checked, flip_indices_of
from lakesight.training.yolo.sample import Floats, xywhr_to_quads
from lakesight.training.yolo.shapes import (
    Size,
    checked_boxes,
    checked_keypoints,
    checked_mask,
    checked_quads,
)

COCOS_OWN = frozenset({"license", "flickr_url", "coco_url", "date_captured"})
"""Further fields of an image, which say nothing of what kind it is."""

Number = FiniteFloat


class Image(BaseModel, extra="allow"):
    """One of `images`."""

    id: int | str
    width: PositiveInt
    height: PositiveInt
    file_name: str


class Category(BaseModel):
    """One of `categories`."""

    id: int
    name: str
    keypoints: tuple[str, ...] | None = None


class Annotation(BaseModel):
    """One of `annotations`; `obb` is ours."""

    id: Any = None
    image_id: int | str
    category_id: int
    bbox: tuple[Number, Number, Number, Number]
    iscrowd: int | None = None
    area: Number | None = None
    segmentation: Any = None
    keypoints: tuple[Number, ...] | None = None
    obb: tuple[Number, Number, Number, Number, Number] | None = None


class Content(BaseModel):
    """What of a COCO file is read."""

    images: tuple[Image, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]


def open_coco(annotations: Path, images: Path, task: Task, *, local: bool = True) -> Pictures:
    """Open COCO JSON; the file names in it are relative to `images`.

    The pictures need not be there where `local` is false.

    Class ids follow the order of the categories' ids. Crowds are kept apart (`Labelled.crowd`);
    what an image says beyond COCO's own fields are its `kinds`. Raises UserError for ids that are
    there twice, annotations of unknown pictures or categories, shapes outside their picture (see
    `shapes`), numbers that are none, and for what the task needs and an annotation lacks.
    """
    content = read_content(annotations)
    if local:
        _check_files([images / each.file_name for each in content.images], annotations)
    _check_ids("images", [each.id for each in content.images], annotations)
    _check_ids("categories", [each.id for each in content.categories], annotations)
    categories = sorted(content.categories, key=lambda each: each.id)
    class_ids = {each.id: number for number, each in enumerate(categories)}
    by_picture: dict[int | str, list[Annotation]] = {each.id: [] for each in content.images}
    crowds: dict[int | str, list[Annotation]] = {number: [] for number in by_picture}
    for annotation in content.annotations:
        _check_annotation(annotation, by_picture, class_ids, annotations)
        several = crowds if annotation.iscrowd else by_picture
        several[annotation.image_id].append(annotation)
    labelled = partial(_from_coco, class_ids=class_ids, folder=images, task=task)
    pictures = [
        replace(
            labelled(image, by_picture[image.id]),
            crowd=labelled(image, crowd) if (crowd := crowds[image.id]) else None,
            kinds=kinds_of(image.model_extra or {}),
        )
        for image in content.images
    ]
    dataset = Pictures(tuple(each.name for each in categories), pictures, task)
    if task != "pose":
        return dataset
    _check_names(categories, dataset.num_keypoints, annotations)
    return replace(
        dataset,
        flip_indices=_flip_indices(categories, annotations),
        keypoint_names=_keypoint_names(categories),
    )


def _check_files(paths: Sequence[Path], where: Path) -> None:
    """Raise UserError where pictures are missing."""
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(
            f"{len(missing):,} of {len(paths):,} pictures of {where} are missing, such as "
            f"{missing[0]}: name their folder with --images"
        )


def _check_ids(what: str, ids: Sequence[int | str], where: Path) -> None:
    """Raise UserError that names the first id of `images` or `categories` that is there twice."""
    seen: set[int | str] = set()
    for id_ in ids:
        if id_ in seen:
            raise UserError(
                f"{where}: two of the `{what}` have the id {id_}: nobody knows whose annotations "
                "are whose; give each its own"
            )
        seen.add(id_)


def _check_names(categories: Sequence[Category], num_keypoints: int, where: Path) -> None:
    """Raise UserError where a category names more or fewer keypoints than annotations have."""
    for one in categories:
        if one.keypoints and num_keypoints and len(one.keypoints) != num_keypoints:
            raise UserError(
                f"{where}: the category {one.name} names {len(one.keypoints)} keypoints, but "
                f"annotations have {num_keypoints}: name as many"
            )


def _keypoint_names(categories: Sequence[Category]) -> tuple[str, ...] | None:
    """Return the names that all categories with names of keypoints agree on."""
    names = {each.keypoints for each in categories if each.keypoints}
    return names.pop() if len(names) == 1 else None


def _flip_indices(categories: Sequence[Category], where: Path) -> FlipIndices | None:
    """Return what all categories with names of keypoints agree on."""
    names = [each.keypoints for each in categories if each.keypoints]
    found = {flip_indices_of(each) for each in names}
    indices = found.pop() if len(found) == 1 else None
    what = f"the names of keypoints in {where}"
    return None if indices is None else checked(indices, len(names[0]), what)


def kinds_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what an image says of itself beyond COCO's own fields, such as its camera."""
    return {
        name: str(value)
        for name, value in fields.items()
        if name not in COCOS_OWN and isinstance(value, str | int)
    }


def read_content(path: Path) -> Content:
    """Return the content of a COCO file, or raise UserError saying what is wrong with it."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} as JSON: {error}") from error
    known = content.keys() if isinstance(content, dict) else set()
    if missing := Content.model_fields.keys() - known:
        raise UserError(f"{path} is no COCO file: it lacks {', '.join(sorted(missing))}")
    try:
        return Content.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from error


def _check_annotation(
    annotation: Annotation,
    pictures: Mapping[int | str, object],
    class_ids: Mapping[int, int],
    where: Path,
) -> None:
    name = f"{where}: annotation {annotation.id}"
    if annotation.image_id not in pictures:
        raise UserError(f"{name} is of picture {annotation.image_id}, which is not in `images`")
    if annotation.category_id not in class_ids:
        raise UserError(
            f"{name} is of category {annotation.category_id}, which is not in `categories`"
        )


def _from_coco(
    image: Image,
    annotations: Sequence[Annotation],
    class_ids: Mapping[int, int],
    folder: Path,
    task: Task,
) -> Labelled:
    size = image.width, image.height
    boxes = np.array([each.bbox for each in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    path = folder / image.file_name
    ids = np.array([class_ids[each.category_id] for each in annotations], np.int64)
    shapes = _needed(annotations, "segmentation", task == "segment", path)
    return Labelled(
        path=path,
        size_wh=size,
        boxes_xyxy=checked_boxes(boxes, size, str(path)),
        class_ids=ids,
        shapes=tuple(checked_mask(one, size, str(path)) for one in shapes),
        keypoints=_keypoints(_needed(annotations, "keypoints", task == "pose", path), size, path),
        quads=_quads(_needed(annotations, "obb", task == "obb", path), size, path),
        areas=_areas(annotations),
    )


def _areas(annotations: Sequence[Annotation]) -> npt.NDArray[np.float64] | None:
    """Return the areas that annotations give; None where one of them gives none."""
    areas = [each.area for each in annotations if each.area is not None]
    return np.array(areas, np.float64) if len(areas) == len(annotations) else None


def _needed(
    annotations: Sequence[Annotation], name: str, is_needed: bool, path: Path
) -> tuple[Any, ...]:
    """Return a field of every annotation, where the task needs it."""
    if not is_needed:
        return ()
    if any(not getattr(each, name) for each in annotations):
        raise UserError(f"an annotation of {path} has no {name}, which this task needs")
    return tuple(getattr(each, name) for each in annotations)


def _keypoints(flat: Sequence[Sequence[float]], size_wh: Size, path: Path) -> Floats | None:
    if not flat:
        return None
    counts = sorted({len(one) for one in flat})
    if len(counts) > 1 or counts[0] % 3:
        raise UserError(
            f"the annotations of {path} have {' and '.join(map(str, counts))} numbers of "
            "keypoints: give x, y and visibility of the same points for each"
        )
    points = np.array(flat, np.float32).reshape(len(flat), -1, 3)
    return checked_keypoints(points, size_wh, str(path))


def _quads(xywhr: Sequence[Sequence[float]], size_wh: Size, path: Path) -> Floats | None:
    if not xywhr:
        return None
    return checked_quads(xywhr_to_quads(np.array(xywhr, np.float32)), size_wh, str(path))
