"""Labelled pictures from COCO JSON (https://cocodataset.org/#format-data)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.coco import Annotation, Category, Image, read_content
from lakesight.errors import UserError
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


def open_coco(annotations: Path, images: Path, task: Task, *, local: bool = True) -> Pictures:
    """Open COCO JSON; the file names in it are relative to `images`.

    The pictures need not be there where `local` is false.

    Class ids follow the order of the categories' ids. Crowds are kept apart (`Labelled.crowd`);
    what an image says beyond COCO's own fields are its `kinds`. Raises UserError as `read_content`,
    for shapes that do not fit their picture (see `shapes`), and for what the task needs and an
    annotation lacks.
    """
    content = read_content(annotations)
    if local:
        _check_files([images / each.file_name for each in content.images], annotations)
    by_image, categories = content.by_image(), content.in_order
    labelled = partial(_from_coco, class_ids=content.class_ids, folder=images, task=task)
    pictures = [
        replace(
            labelled(image, [one for one in by_image[image.id] if not one.iscrowd]),
            crowd=labelled(image, crowd) if (crowd := _crowd(by_image[image.id])) else None,
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
            f"{missing[0]}: name their folder with --images, or leave them out"
        )


def _crowd(annotations: Sequence[Annotation]) -> list[Annotation]:
    return [one for one in annotations if one.iscrowd]


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
