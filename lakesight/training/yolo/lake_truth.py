"""What is on the pictures of an output: a model's values, with corrected ones in their place."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

import lakesight
from lakesight.errors import UserError
from lakesight.metrics import predictions_from_table, truths_from_table
from lakesight.metrics.objects import Objects
from lakesight.models.base import Frozen
from lakesight.schemas import ROW, detection_type, object_fields
from lakesight.training.yolo.corrections import Corrections, check_complete, read_corrections
from lakesight.training.yolo.datasets import Task

FIELDS: Mapping[Task, tuple[str, ...]] = {
    "detect": ("box",),
    "segment": ("box", "mask"),
    "pose": ("box", "keypoints"),
    "obb": ("obb",),
    "classify": (),
}
"""What of an object each task needs, beside its label."""


class LakeLabels(Frozen):
    """Which values of an output are the truth."""

    column: str | None = None
    """Column of the values; `detections`, or to classify `classes`, unless given."""
    labels: tuple[str, ...] | None = None
    """Names of the classes by id; all that occur, by name, unless given."""
    unknown: Literal["error", "drop"] = "error"
    """What an object is whose class is not among `labels`: a mistake, or left out."""
    min_score: float = Field(default=0.0, ge=0, le=1)
    """Values that a model was less sure of are left out; corrected ones are taken as they are."""
    min_keypoint_score: float = Field(default=0.3, ge=0, le=1)
    """A keypoint that scores less is not there."""
    corrections: str | None = None
    """Parquet or Arrow file of corrected values, by `id` or `uri`: see docs/training.md."""
    val_fraction: float = Field(default=0.2, ge=0, le=1)
    """Part of the pictures to validate on; which ones depends on their uri alone."""
    flip_indices: tuple[int, ...] | None = None
    """By keypoint, the one that it becomes in a mirror; without it, pictures with keypoints are
    not mirrored."""

    def column_for(self, task: Task) -> str:
        """Return the column that holds the truth."""
        return self.column or ("classes" if task == "classify" else "detections")


class LakeTruth(NamedTuple):
    """What is known of an output's pictures."""

    rows: list[dict[str, Any]]
    """`id`, `uri`, `etag`, `width`, `height` of each picture, in the order of the output."""
    objects: Mapping[str, Objects]
    """By id; `scores` where they are a model's."""
    labels: tuple[str, ...]
    left_out: Counter[str]
    """How many of what are not used."""


def read_truth(uri: str, task: Task, choice: LakeLabels) -> LakeTruth:
    """Read an output's latest rows of status ok, and what corrections say of them.

    Raises UserError for frames of videos, a column that lacks what the task needs, labels that are
    not among those given, and corrections of rows that are not there.
    """
    column, left_out = choice.column_for(task), Counter[str]()
    table = _ok_rows(uri, task, column, left_out)
    corrections = _corrections(uri, task, choice, table)
    corrected = _corrected(corrections, table, column, left_out)
    found = _found(table, corrections, choice, task, left_out)
    labels = choice.labels or _labels([found[column], corrected[column]])
    objects: list[Objects] = []
    for batch in found.to_batches():
        part = pa.Table.from_batches([batch])
        objects += predictions_from_table(
            part, labels, key="id", column=column, unknown=choice.unknown
        )
    left_out["values of other classes"] += len(_flat(found[column])) - sum(map(len, objects))
    if corrected.num_rows:
        objects += truths_from_table(corrected.combine_chunks(), labels, key="id", column=column)
    rows = table.select(["id", "uri", "etag", "width", "height"]).to_pylist()
    by_id = {str(one.picture): one for one in objects}
    return LakeTruth([row for row in rows if row["id"] in by_id], by_id, labels, +left_out)


def _ok_rows(uri: str, task: Task, column: str, left_out: Counter[str]) -> pa.Table:
    """Return the rows that can be used; their column may be null."""
    lake = lakesight.open(uri)
    schema = lake.dataset().schema
    if column not in schema.names:
        others = ", ".join(name for name in schema.names if name not in ROW.names) or "none"
        raise UserError(f"{uri} has no column {column!r} to train on; it has {others}")
    _check_fields(schema.field(column).type, task, f"the objects in {column!r} of {uri}")
    names = ["id", "uri", "etag", "frame_index", "width", "height", "status", column]
    table = lake.latest(names).read_all()
    if table["frame_index"].null_count < table.num_rows:
        raise UserError(f"{uri} has frames of videos: only pictures can be trained on")
    is_ok = pc.equal(table["status"], "ok")
    left_out["rows with errors"] += table.num_rows - (pc.sum(is_ok).as_py() or 0)
    return table.filter(is_ok)


def _check_fields(value_type: pa.DataType, task: Task, what: str) -> None:
    names = object_fields(value_type)
    if missing := [name for name in ("label", *FIELDS[task]) if name not in names]:
        raise UserError(
            f"{what} have no {missing[0]}, which --task {task} needs: annotate with a model that "
            "gives it, or name another column"
        )


def _value_type(task: Task, *more: str) -> pa.DataType:
    """Return lists of objects with what the task needs."""
    every = detection_type(keypoints=True, masks=True, angles=True).value_type
    return pa.list_(pa.struct([every.field(name) for name in ("label", *more, *FIELDS[task])]))


def _corrections(uri: str, task: Task, choice: LakeLabels, table: pa.Table) -> Corrections:
    """Read the corrections, if there are any, and see that each is of a row."""
    column, kind = choice.column_for(task), _value_type(task)
    if choice.corrections is None:
        return Corrections("id", [], pa.chunked_array([], kind))
    corrections = read_corrections(choice.corrections, column, kind)
    check_complete(corrections, ("label", *FIELDS[task]), choice.corrections)
    known = set(table[corrections.key].to_pylist())
    if strange := [name for name in corrections.names if name not in known]:
        raise UserError(
            f"{choice.corrections} corrects {len(strange)} pictures that are not among the latest "
            f"rows of {uri} without an error, such as {strange[0]}: correct what is there now"
        )
    return corrections


def _corrected(
    corrections: Corrections, table: pa.Table, column: str, left_out: Counter[str]
) -> pa.Table:
    """Return `id` and value of the corrected rows that are to be used."""
    ids = dict(zip(table[corrections.key].to_pylist(), table["id"].to_pylist(), strict=True))
    names = pa.array([ids[name] for name in corrections.names], pa.string())
    corrected = pa.table({"id": names, column: corrections.values})
    left_out["rows that corrections leave out"] += corrected[column].null_count
    return corrected.filter(pc.is_valid(corrected[column]))


def _found(
    table: pa.Table,
    corrections: Corrections,
    choice: LakeLabels,
    task: Task,
    left_out: Counter[str],
) -> pa.Table:
    """Return `id` and value of the rows that no correction replaces, less what is too unlikely."""
    column = choice.column_for(task)
    is_corrected = pc.is_in(
        table[corrections.key], value_set=pa.array(corrections.names, pa.string())
    )
    table = table.filter(pc.invert(is_corrected)).select(["id", column])
    left_out["rows without a value"] += table[column].null_count
    table = table.filter(pc.is_valid(table[column]))
    values = table[column].cast(_value_type(task, "score"))
    likely = [_likely(chunk, choice, task, left_out) for chunk in values.chunks]
    return pa.table({"id": table["id"], column: pa.chunked_array(likely, values.type)})


def _likely(
    lists: pa.ListArray, choice: LakeLabels, task: Task, left_out: Counter[str]
) -> pa.ListArray:
    """Return the lists without objects that score too little, or lack what the task needs."""
    objects = lists.flatten()
    kept = np.asarray(objects.field("score").to_numpy(zero_copy_only=False)) >= choice.min_score
    left_out[f"values that score less than {choice.min_score:g}"] += int((~kept).sum())
    for name in FIELDS[task]:
        lacking = kept & objects.field(name).is_null().to_numpy(zero_copy_only=False)
        left_out[f"values without {name}"] += int(lacking.sum())
        kept &= ~lacking
    parents = pc.list_parent_indices(lists).to_numpy()
    counts = np.bincount(parents[kept], minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), objects.filter(pa.array(kept)))


def _flat(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the objects of all rows."""
    return pc.list_flatten(values)


def _labels(columns: Sequence[pa.ChunkedArray]) -> tuple[str, ...]:
    """Return the names of all classes that occur, by name."""
    names: set[str] = set()
    for values in columns:
        names.update(*(chunk.field("label").unique().to_pylist() for chunk in _flat(values).chunks))
    return tuple(sorted(name for name in names if name is not None))
