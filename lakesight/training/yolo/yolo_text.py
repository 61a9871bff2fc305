"""Labelled pictures from YOLO text folders: one line per object, in parts of the picture's sides.

`class x y w h` for boxes, `class x1 y1 x2 y2 ...` for polygons, four corners for rotated boxes, and
`class x y w h` then `px py v` for each keypoint. A `data.yaml` names the classes and the splits.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from pydantic import BaseModel, PositiveInt, ValidationError

from lakesight.errors import UserError
from lakesight.training.yolo.datasets import (
    Labelled,
    Pictures,
    Split,
    Task,
    image_files,
    size_of,
)
from lakesight.training.yolo.flips import FlipIndices, checked
from lakesight.training.yolo.sample import Floats
from lakesight.training.yolo.shapes import (
    around,
    checked_boxes,
    checked_keypoints,
    checked_mask,
    checked_quads,
)

log = logging.getLogger(__name__)
CLASSES = "classes.txt"
"""What annotation tools put among the labels: the names of the classes."""


class DataFile(BaseModel, coerce_numbers_to_str=True):
    """A `data.yaml`: names of the classes, and where the splits are; other fields do not matter."""

    names: dict[int, str] | tuple[str, ...]
    path: str = "."
    train: str | tuple[str, ...] = ()
    val: str | tuple[str, ...] = ()
    test: str | tuple[str, ...] = ()
    """Folders of pictures, or .txt lists of them, relative to `path`, and that to the file."""
    kpt_shape: tuple[PositiveInt, Literal[2, 3]] | None = None
    """Keypoints of an object, and the numbers of each."""
    flip_idx: Any = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes by id."""
        names = self.names
        return tuple(names[id_] for id_ in sorted(names)) if isinstance(names, dict) else names

    def folders(self, split: Split) -> list[str]:
        """Return the folders of a split, as they are written."""
        written: str | tuple[str, ...] = getattr(self, split)
        return [written] if isinstance(written, str) else list(written)

    def flip_indices(self, where: Path) -> FlipIndices | None:
        """Return what keypoints become in a mirror; UserError where they do not pair."""
        if not self.flip_idx or not self.kpt_shape:
            return None
        listed = self.flip_idx if isinstance(self.flip_idx, list) else [self.flip_idx]
        return checked(listed, self.kpt_shape[0], f"flip_idx in {where}")


def read_data_file(path: Path) -> DataFile:
    """Return the content of a `data.yaml`, or raise UserError saying what is wrong with it."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict) or "names" not in content:
        raise UserError(f"{path} is no YOLO data file: it lacks `names`, the names of the classes")
    try:
        data = DataFile.model_validate({k: v for k, v in content.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]  # of a union's parts, each refuses in its own words
        raise UserError(f"{path}: {first['loc'][0]}: {first['msg']}") from error
    _check_numbers(data.names, path)
    return data


def _check_numbers(names: Mapping[int, str] | tuple[str, ...], path: Path) -> None:
    """Raise UserError where names have numbers, and these are not 0, 1, 2 and so on."""
    numbers = sorted(names) if isinstance(names, Mapping) else []
    for wanted, number in enumerate(numbers):
        if number != wanted:
            raise UserError(
                f"{path}: names: expected the classes numbered 0 to {len(numbers) - 1}, as label "
                f"files count them, but there is a {number} and no {wanted}"
            )


def open_yolo_text(path: Path, split: Split, task: Task) -> Pictures:
    """Open one split of a `data.yaml`. A picture without a text file has no objects."""
    data = read_data_file(path)
    if not data.folders(split):
        there = [name for name in get_args(Split) if data.folders(name)]
        raise UserError(f"{path} has no split {split!r}; it has {', '.join(there) or 'none'}")
    files = [
        file
        for folder in data.folders(split)
        for file in _pictures(path.parent / data.path / folder, split, path)
    ]
    pictures = [_labelled(each, data, task) for each in files]
    return Pictures(data.labels, pictures, task, flip_indices=data.flip_indices(path))


def _pictures(place: Path, split: Split, path: Path) -> list[Path]:
    """Return the pictures of a folder, or those that a .txt names, one a line."""
    whose = f"the split {split!r} of {path}"
    if not place.exists():
        raise UserError(f"there is no {place}, {whose}: name a folder, or a .txt list of pictures")
    files = _listed(place) if place.is_file() else image_files(place)
    if not files:
        raise UserError(f"there are no pictures in {place}, {whose}")
    if place.is_dir():
        _say_orphans(files)
    return files


def _listed(file: Path) -> list[Path]:
    """Return the pictures that a file names, relative to where it lies; UserError for a missing."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    files = [file.parent / line for line in lines if line]
    if missing := [one for one in files if not one.is_file()]:
        raise UserError(
            f"{len(missing):,} of {len(files):,} pictures that {file} names are missing, such as "
            f"{missing[0]}"
        )
    return files


def labels_file(image: Path) -> Path:
    """Return the text file of a picture: the last folder called images becomes labels."""
    parts = list(image.parts)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _say_orphans(images: Sequence[Path]) -> None:
    """Say in the log which files in the folders of labels belong to no picture of a folder."""
    known = {labels_file(image) for image in images}
    folders = {file.parent for file in known} - {image.parent for image in images}
    there = {file for folder in folders for file in folder.glob("*.txt")} - known
    if orphans := sorted(file for file in there if file.name != CLASSES):
        log.warning(
            "%d of the files of labels in %s have no picture and are left out, such as %s",
            len(orphans),
            orphans[0].parent,
            orphans[0].name,
        )


def _labelled(image: Path, data: DataFile, task: Task) -> Labelled:
    size = size_of(image)
    file = labels_file(image)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = [
        _row(line, task, data, f"{file}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    ids = np.array([id_ for id_, _ in rows], np.int64)
    return _of_task(task, image, size, ids, [values for _, values in rows], data)


def _row(line: str, task: Task, data: DataFile, where: str) -> tuple[int, Floats]:
    """Return the class of a line, and the numbers after it; UserError that says `where`."""
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}: expected numbers, got {line!r}")
    class_id, values = numbers[0], np.array(numbers[1:], np.float32)
    if class_id != int(class_id) or not 0 <= class_id < len(data.labels):
        last = len(data.labels) - 1
        raise UserError(f"{where}: class {class_id:g}, but the names are numbered 0 to {last}")
    _check_count(values, task, data, where)
    return int(class_id), values


def _of_task(
    task: Task,
    image: Path,
    size: tuple[int, int],
    ids: Any,
    values: list[Floats],
    data: DataFile,
) -> Labelled:
    """Return the labels in pixels, read as the task's format says."""
    scale = np.array(size, np.float32)
    where = str(labels_file(image))
    if task in ("segment", "obb"):
        points = [row.reshape(-1, 2) * scale for row in values]
        if task == "obb":
            quads = checked_quads(np.array(points, np.float32).reshape(-1, 4, 2), size, where)
            return Labelled(image, size, around(quads, size), ids, quads=quads)
        boxes = np.array([[*each.min(0), *each.max(0)] for each in points], np.float32)
        boxes = checked_boxes(boxes.reshape(-1, 4), size, where)
        shapes = tuple(checked_mask([each.ravel()], size, where) for each in points)
        return Labelled(image, size, boxes, ids, shapes)
    rows = np.array([row[:4] for row in values], np.float32).reshape(-1, 4) * np.tile(scale, 2)
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], 1)
    boxes = checked_boxes(boxes, size, where)
    if task != "pose":
        return Labelled(image, size, boxes, ids)
    assert data.kpt_shape is not None
    count, dims = data.kpt_shape
    points_kd = np.array([row[4:] for row in values], np.float32).reshape(-1, count, dims)
    there = points_kd[..., 2:] if dims == 3 else np.full((*points_kd.shape[:2], 1), 2, np.float32)
    keypoints = np.concatenate([points_kd[..., :2] * scale, there], -1)
    keypoints = checked_keypoints(keypoints, size, where)
    return Labelled(image, size, boxes, ids, keypoints=keypoints)


def _check_count(row: Floats, task: Task, data: DataFile, where: str) -> None:
    """Raise UserError unless a line has as many numbers as its task wants."""
    if task == "pose" and data.kpt_shape is None:
        raise UserError("the data file lacks `kpt_shape: [points, 2 or 3]`, which pose needs")
    shape = data.kpt_shape or (0, 0)
    wanted = {"detect": 4, "obb": 8, "pose": 4 + shape[0] * shape[1]}.get(task)
    is_polygon = task == "segment" and len(row) >= 6 and len(row) % 2 == 0
    if len(row) != wanted and not is_polygon:
        expected = "6 or more, an even number" if task == "segment" else str(wanted)
        raise UserError(f"{where}: {len(row)} numbers after a class, but {task} wants {expected}")
