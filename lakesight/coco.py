"""COCO's JSON files (cocodataset.org, data format), read and checked for who trains and judges.

What a mask, a keypoint or a box must be is theirs to check, who know what it is for.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat, PositiveInt, ValidationError

from lakesight.errors import UserError, first_mistake

Id = int | str
Number = FiniteFloat


class Image(BaseModel, extra="allow"):
    """One of `images`."""

    id: Id
    width: PositiveInt
    height: PositiveInt
    file_name: str


class Category(BaseModel):
    """One of `categories`."""

    id: int
    name: str
    keypoints: tuple[str, ...] | None = None


class Shapes(BaseModel):
    """What is known of where an object is; `obb` is ours."""

    bbox: tuple[Number, Number, Number, Number] | None = None
    """Left, top, width and height in pixels."""
    segmentation: Any = None
    keypoints: tuple[Number, ...] | None = None
    obb: tuple[Number, Number, Number, Number, Number] | None = None
    """Centre x, y, width, height in pixels, angle in radians."""


class Annotation(Shapes):
    """One of `annotations`."""

    id: Any = None
    image_id: Id
    category_id: int
    bbox: tuple[Number, Number, Number, Number]
    iscrowd: int | None = None
    area: Number | None = None


class Content(BaseModel):
    """What of a COCO file is read."""

    images: tuple[Image, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]

    @property
    def in_order(self) -> list[Category]:
        """The categories by rising id: their places are our class ids."""
        return sorted(self.categories, key=lambda one: one.id)

    @property
    def class_ids(self) -> dict[int, int]:
        """Our class id by the category's."""
        return {one.id: number for number, one in enumerate(self.in_order)}

    def by_image(self) -> dict[Id, list[Annotation]]:
        """Return the annotations of every image by its id, in the order of the file."""
        found: dict[Id, list[Annotation]] = {one.id: [] for one in self.images}
        for annotation in self.annotations:
            found[annotation.image_id].append(annotation)
        return found


def read_content(path: Path) -> Content:
    """Return the content of a COCO file.

    Raises UserError for what lacks a part of one, numbers that are none, ids that are there twice,
    and annotations of unknown images or categories.
    """
    content = read_json(path)
    known = content.keys() if isinstance(content, dict) else set()
    if missing := Content.model_fields.keys() - known:
        raise UserError(f"{path} is no COCO file: it lacks {', '.join(sorted(missing))}")
    try:
        found = Content.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from error
    _check_ids("images", [one.id for one in found.images], path)
    _check_ids("categories", [one.id for one in found.categories], path)
    images, class_ids = {one.id for one in found.images}, found.class_ids
    for annotation in found.annotations:
        _check_annotation(annotation, images, class_ids, path)
    return found


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; UserError where it is none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} as JSON: {error}") from error


def _check_ids(what: str, ids: Sequence[Id], where: Path) -> None:
    """Raise UserError that names the first id of `images` or `categories` that is there twice."""
    seen: set[Id] = set()
    for id_ in ids:
        if id_ in seen:
            raise UserError(
                f"{where}: two of the `{what}` have the id {id_}: nobody knows whose annotations "
                "are whose; give each its own"
            )
        seen.add(id_)


def _check_annotation(
    annotation: Annotation, images: set[Id], class_ids: Mapping[int, int], where: Path
) -> None:
    name = f"{where}: annotation {annotation.id}"
    if annotation.image_id not in images:
        raise UserError(f"{name} is of picture {annotation.image_id}, which is not in `images`")
    if annotation.category_id not in class_ids:
        raise UserError(
            f"{name} is of category {annotation.category_id}, which is not in `categories`"
        )
