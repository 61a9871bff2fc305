"""Classified pictures: a folder for each class, as torchvision's ImageFolder lays them out."""

from pathlib import Path

import numpy as np

from lakesight.errors import UserError
from lakesight.training.yolo.datasets import Labelled, Pictures, image_files, size_of


def open_folders(folder: Path) -> Pictures:
    """Open a folder of folders. Raises UserError for a class without a picture, or no class."""
    classes = sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    if len(classes) < 2:
        raise UserError(f"{folder} needs a folder for each of at least two classes")
    pictures = [
        _labelled(path, number) for number, each in enumerate(classes) for path in _in(each)
    ]
    return Pictures(tuple(each.name for each in classes), pictures, "classify")


def _in(folder: Path) -> list[Path]:
    files = image_files(folder)
    if not files:
        raise UserError(f"the class folder {folder} has no picture: fill it, or remove it")
    return files


def _labelled(path: Path, class_id: int) -> Labelled:
    return Labelled(
        path, size_of(path), np.zeros((0, 4), np.float32), np.array([class_id], np.int64)
    )
