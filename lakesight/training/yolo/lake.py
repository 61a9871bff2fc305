"""Labelled pictures from an output of Lakesight: what was annotated, and corrected since.

The latest rows of status ok are taken; what is left out is counted in one line.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lakesight.cache import cache_folder
from lakesight.errors import UserError
from lakesight.metrics import Predictions
from lakesight.metrics.objects import Objects
from lakesight.training.downloads import local_files
from lakesight.training.yolo.datasets import Labelled, Pictures, Task
from lakesight.training.yolo.flips import checked
from lakesight.training.yolo.lake_truth import LakeLabels, LakeTruth, read_truth
from lakesight.training.yolo.sample import Floats, xywhr_to_quads
from lakesight.training.yolo.shapes import Size, around, checked_boxes, checked_quads, outside

log = logging.getLogger(__name__)

Part = Literal["train", "val"]
Row = Mapping[str, Any]


def open_output(
    uri: str,
    task: Task,
    part: Part | None = None,
    choice: LakeLabels | None = None,
    *,
    multi_label: bool = False,
    cache: Path | None = None,
) -> Pictures:
    """Open the committed rows of an output as labelled pictures: all, or one part.

    Pictures of a bucket are fetched once, into `cache` (`$XDG_CACHE_HOME/lakesight/pictures` unless
    given). With `multi_label` a classified picture has all its classes, else the best. Raises
    UserError as `read_truth`, and where pictures are not the ones that were annotated.
    """
    choice = choice or LakeLabels()
    truth = read_truth(uri, task, choice)
    if task == "classify" and not multi_label:
        truth = _of_one_class(truth)
    _tell(uri, truth)
    rows = [row for row in truth.rows if part in (None, side(row["uri"], choice.val_fraction))]
    if not rows:
        where = f" in the part {part}" if part else ""
        raise UserError(
            f"{uri} has no picture to train on{where}; left out: {_counted(truth.left_out)}"
        )
    paths = local_files(rows, cache or cache_folder("pictures"))
    pictures = [
        _labelled(row, truth.objects[row["id"]], path, task, choice)
        for row, path in zip(rows, paths, strict=True)
    ]
    dataset = Pictures(truth.labels, pictures, task, multi_label=multi_label)
    if task != "pose" or choice.flip_indices is None:
        return dataset
    flips = checked(choice.flip_indices, dataset.num_keypoints, "flip_indices")
    return replace(dataset, flip_indices=flips)


def side(uri: str, val_fraction: float) -> Part:
    """Return whether to train or to validate on a picture, whatever others there are.

    By a hash of the uri: a picture that is replaced, or annotated again, stays on its side, and
    with a larger fraction those that were validated on still are.
    """
    digest = hashlib.blake2b(uri.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return "val" if int.from_bytes(digest) < val_fraction * 2**64 else "train"


def _of_one_class(truth: LakeTruth) -> LakeTruth:
    """Return the truth with the best class of every picture; UserError where two were corrected."""
    best: dict[str, Objects] = {}
    for id_, one in truth.objects.items():
        if isinstance(one, Predictions):
            first = one.scores.argsort(kind="stable")[::-1][:1]
            kept = one.class_ids[first]
        else:
            kept = one.class_ids
            if len(kept) != 1:
                raise UserError(f"the corrections give {id_} {len(kept)} classes: give one")
        if len(kept):
            best[id_] = Objects(one.picture, kept)
    left_out = truth.left_out + Counter({"rows without a class": len(truth.objects) - len(best)})
    rows = [row for row in truth.rows if row["id"] in best]
    return LakeTruth(rows, best, truth.labels, left_out)


def _tell(uri: str, truth: LakeTruth) -> None:
    """Log what is not used."""
    if truth.left_out:
        log.warning("%s: left out: %s", uri, _counted(truth.left_out))


def _counted(left_out: Counter[str]) -> str:
    counts = [f"{what} ({count:,})" for what, count in left_out.items()]
    return ", ".join(counts) or "nothing"


def _labelled(row: Row, one: Objects, path: Path, task: Task, choice: LakeLabels) -> Labelled:
    """Return a picture and its truth; UserError that names it where they do not fit."""
    size = row["width"], row["height"]
    if task == "classify":
        nowhere = np.zeros((0, 4), np.float32)
        return Labelled(path, size, nowhere, one.class_ids, uri=row["uri"])
    quads = None if task != "obb" else checked_quads(_quads(one), size, row["uri"])
    boxes = _single(one.boxes_xyxy) if quads is None else around(quads, size)
    return Labelled(
        path=path,
        size_wh=size,
        boxes_xyxy=checked_boxes(boxes, size, row["uri"]),
        class_ids=one.class_ids,
        shapes=_shapes(one, row) if task == "segment" else (),
        keypoints=_keypoints(one, size, choice.min_keypoint_score) if task == "pose" else None,
        quads=quads,
        uri=row["uri"],
    )


def _single(values: npt.NDArray[np.float64] | None) -> Floats:
    """Return boxes as float32 `(N, 4)`; of a picture without objects there may be none."""
    return np.zeros((0, 4), np.float32) if values is None else values.astype(np.float32)


def _quads(one: Objects) -> Floats:
    boxes = one.boxes_xywhr
    empty = np.zeros((0, 4, 2), np.float32)
    return empty if boxes is None or not len(one) else xywhr_to_quads(boxes.astype(np.float32))


def _shapes(one: Objects, row: Row) -> tuple[Mapping[str, Any], ...]:
    if one.masks is None:
        return ()
    size = row["height"], row["width"]
    if wrong := [rle.size for rle in one.masks if rle.size != size]:
        raise UserError(
            f"{row['uri']}: a mask is {wrong[0][0]} pixels high and {wrong[0][1]} wide, its "
            f"picture {size[0]} and {size[1]}: mask the whole picture"
        )
    return tuple(rle.as_coco() for rle in one.masks)


def _keypoints(one: Objects, size_wh: Size, min_score: float) -> Floats | None:
    """Return keypoints whose third number says 2, there, or 0: too unlikely, or outside."""
    if one.keypoints is None or not len(one):
        return None
    points: Floats = one.keypoints.astype(np.float32)
    there = (points[..., 2] >= min_score) & ~outside(points[..., :2], size_wh)
    points[..., 2] = np.where(there, 2, 0)
    return points
