"""What is given to train or evaluate with, to labelled pictures, whatever it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lakesight.errors import UserError
from lakesight.lake.output import Output
from lakesight.training.yolo.coco import open_coco
from lakesight.training.yolo.datasets import Labelled, Pictures, Split, Task
from lakesight.training.yolo.folders import open_folders
from lakesight.training.yolo.lake import open_output
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.yolo_text import open_yolo_text

__all__ = ["Split", "open_data"]


def open_data(
    data: str,
    split: Split,
    task: Task,
    *,
    images: str | None = None,
    multi_label: bool = False,
    labels: LakeLabels | None = None,
) -> Pictures:
    """Open labelled pictures; which form they have is told by what is there.

    - a folder with `scenes.json`: generated scenes
    - `data.yaml`: YOLO text folders, whose splits it names
    - `instances.json`: COCO, its pictures in `images` or beside it
    - a folder of `train/` and `val/`, each with a folder per class, to classify
    - an output of Lakesight, a folder or s3:// prefix; `labels` say which of its values are true

    With `multi_label` a picture to classify has all its classes. Raises UserError where it is none
    of them, or something in it is wrong.
    """
    path = Path(data)
    if task == "classify" and path.suffix in (".yaml", ".yml", ".json"):
        raise UserError(
            f"{data} says what is where on a picture, and classify wants the class of the whole: "
            "give a folder with train/CLASS/ and val/CLASS/, scenes, or an output"
        )
    if path.suffix in (".yaml", ".yml"):
        return open_yolo_text(path, split, task)
    if path.suffix == ".json":
        return open_coco(path, Path(images) if images else path.parent, task)
    if (path / "scenes.json").is_file():
        return _scenes(path, split, task, multi_label=multi_label)
    if (path / split).is_dir() and task == "classify":
        return replace(open_folders(path / split), multi_label=multi_label)
    if Output.open(data).is_bound():
        if split == "test":
            raise UserError(f"{data} has the parts train and val: see val_fraction")
        return open_output(data, task, split, labels, multi_label=multi_label)
    raise UserError(
        f"{data} has no pictures labelled for the task {task}, split {split}: give a folder of "
        "`lakesight scenes`, a data.yaml of YOLO text labels, a COCO .json (with --images), an "
        "output of `lakesight annotate`, or to classify a folder with train/CLASS/ and val/CLASS/"
    )


def _scenes(folder: Path, split: Split, task: Task, *, multi_label: bool) -> Pictures:
    if split == "test":
        raise UserError(f"{folder} has the splits train and val: draw a test set with another seed")
    if task != "classify":
        annotations = folder / "annotations" / f"instances_{split}.json"
        return open_coco(annotations, folder / "images" / split, task)
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
                [places[one] for one in (row["labels"] if multi_label else [row["label"]])],
                np.int64,
            ),
        )
        for row in rows
    ]
    return Pictures(LABELS, pictures, task, multi_label=multi_label)
