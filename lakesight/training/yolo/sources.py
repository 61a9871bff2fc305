"""What is given to train or evaluate with, to labelled pictures, whatever it is."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from lakesight.errors import UserError
from lakesight.lake.output import Output
from lakesight.scenes.known import holds_scenes
from lakesight.training import forms
from lakesight.training.forms import Form
from lakesight.training.yolo.coco import open_coco
from lakesight.training.yolo.datasets import Labelled, Pictures, Split, Task
from lakesight.training.yolo.folders import open_folders
from lakesight.training.yolo.lake import open_output
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.yolo_text import open_yolo_text

__all__ = ["FORMS", "Asked", "Split", "open_data"]

log = logging.getLogger(__name__)

SHOWN = 5
"""So many empty classes are named."""
EVERYTHING = frozenset(get_args(Task))
OBJECTS = EVERYTHING - {"classify"}
"""What tells where something is on a picture; `classify` wants the class of the whole."""


class Asked(NamedTuple):
    """Labelled pictures to open, and how."""

    data: str
    split: Split
    task: Task
    images: str | None
    """Folder of the pictures, where the data only names them."""
    multi_label: bool
    """To classify: all classes of a picture."""
    labels: LakeLabels | None
    """Which values of an output are true."""
    local: bool = True
    """The pictures must be here."""

    @property
    def path(self) -> Path:
        """Return the data as a local path."""
        return Path(self.data)


def open_data(
    data: str,
    split: Split,
    task: Task,
    *,
    images: str | None = None,
    multi_label: bool = False,
    labels: LakeLabels | None = None,
    local: bool = True,
) -> Pictures:
    """Open labelled pictures; which of the `FORMS` they have is told by what is there.

    With `multi_label` a picture to classify has all its classes. Pictures that COCO only names need
    not be here where `local` is false, as what was found on them is known. A class of which nothing
    is there is one line in the log. Raises UserError where it is none of them, or something in it
    is wrong.
    """
    asked = Asked(data, split, task, images, multi_label, labels, local)
    missing = f"pictures labelled for the task {task}, split {split}"
    opened = forms.opened(FORMS, asked, task, data, missing)
    if empty := opened.empty_classes():
        shown = ", ".join(empty[:SHOWN]) + (" …" if len(empty) > SHOWN else "")
        log.warning(
            "%s, split %s: there is nothing of %d of %d classes: %s",
            data,
            split,
            len(empty),
            len(opened.labels),
            shown,
        )
    return opened


def _yolo_text(asked: Asked) -> Pictures:
    return open_yolo_text(asked.path, asked.split, asked.task)


def _coco(asked: Asked) -> Pictures:
    images = Path(asked.images) if asked.images else asked.path.parent
    return open_coco(asked.path, images, asked.task, local=asked.local)


def _folders(asked: Asked) -> Pictures:
    return replace(open_folders(asked.path / asked.split), multi_label=asked.multi_label)


def _output(asked: Asked) -> Pictures:
    if asked.split == "test":
        raise UserError(f"{asked.data} has the parts train and val: see val_fraction")
    return open_output(
        asked.data, asked.task, asked.split, asked.labels, multi_label=asked.multi_label
    )


def _scenes(asked: Asked) -> Pictures:
    folder, split, task = asked.path, asked.split, asked.task
    if split == "test":
        raise UserError(f"{folder} has the splits train and val: draw a test set with another seed")
    if task != "classify":
        annotations = folder / "annotations" / f"instances_{split}.json"
        objects = open_coco(annotations, folder / "images" / split, task)
        return replace(objects, keypoints_by_place=task == "pose")
    import pyarrow.parquet as pq

    from lakesight.scenes import LABELS

    columns = ["file_name", "width", "height", "label", "labels"]
    rows: list[dict[str, Any]] = pq.read_table(
        folder / "tables" / f"{split}.parquet", columns=columns
    ).to_pylist()
    places = {label: number for number, label in enumerate(LABELS)}
    pictures = [
        Labelled(
            path=folder / row["file_name"],
            size_wh=(row["width"], row["height"]),
            boxes_xyxy=np.zeros((0, 4), np.float32),
            class_ids=np.array(
                [places[one] for one in (row["labels"] if asked.multi_label else [row["label"]])],
                np.int64,
            ),
        )
        for row in rows
    ]
    return Pictures(LABELS, pictures, task, multi_label=asked.multi_label)


FORMS: dict[str, Form[Asked, Pictures]] = {
    "yolo-text": Form(
        "a data.yaml of YOLO text labels",
        OBJECTS,
        lambda asked: asked.path.suffix in (".yaml", ".yml"),
        _yolo_text,
    ),
    "coco": Form(
        "a COCO .json (with --images)", OBJECTS, lambda asked: asked.path.suffix == ".json", _coco
    ),
    "scenes": Form(
        "a folder of `lakesight scenes`",
        EVERYTHING,
        lambda asked: holds_scenes(asked.path),
        _scenes,
    ),
    "folders": Form(
        "a folder with train/CLASS/ and val/CLASS/",
        frozenset({"classify"}),
        lambda asked: (asked.path / asked.split).is_dir(),
        _folders,
    ),
    "output": Form(
        "an output of `lakesight annotate`",
        EVERYTHING,
        lambda asked: Output.open(asked.data).is_bound(),
        _output,
    ),
}
"""By name, in the order in which they are looked for."""
