"""Truth and predictions from Arrow tables: our `detections` column, or a truth of that form."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.masks import Rle
from lakesight.metrics.objects import Ids, Key, Predictions, Truth

ROTATED = "obb"
"""The field of an object that holds its rotated box."""

Unknown = Literal["error", "drop"]
Fields = dict[str, Any]
"""Of `Objects`, for the objects of all rows."""


def predictions_from_table(
    table: pa.Table,
    labels: Sequence[str],
    *,
    key: str = "uri",
    column: str = "detections",
    unknown: Unknown = "error",
) -> list[Predictions]:
    """Return the predictions of every row, their classes those of `labels` with the same name.

    `key` is the column that names a picture, or `name` for the last part of `uri`; frames of a
    video have `#` and their index appended. A row without a list (what could not be decoded) found
    nothing. A label that `labels` lacks is an error, or its objects are left out: `unknown`.
    """
    objects = _flat(table, column)
    class_ids = _class_ids(objects, labels, column, unknown)
    fields = {**_fields(objects), "scores": _column(objects, "score", column).astype(np.float64)}
    return [
        Predictions(name, **one)
        for name, one in _split(table, key, column, {**fields, "class_ids": class_ids})
    ]


def truths_from_table(
    table: pa.Table,
    labels: Sequence[str],
    *,
    key: str = "uri",
    column: str = "detections",
    slices: Sequence[str] = (),
) -> list[Truth]:
    """Return the truth of every row: annotations, corrected detections or generated scenes.

    `key` as for predictions; `slices` are columns whose values become `Truth.slices`. UserError
    where a label is not in `labels`.
    """
    objects = _flat(table, column)
    fields = {**_fields(objects), "class_ids": _class_ids(objects, labels, column, "error")}
    if "area" in _names(objects):
        fields["areas"] = _column(objects, "area", column).astype(np.float64)
    kinds = [
        {name: str(value) for name, value in row.items() if value is not None}
        for row in table.select(list(slices)).to_pylist()
    ] or [{}] * table.num_rows
    rows = zip(_split(table, key, column, fields), kinds, strict=True)
    return [Truth(name, **one, slices=kind) for (name, one), kind in rows]


def _flat(table: pa.Table, column: str) -> pa.StructArray:
    """Return the objects of all rows, one after the other."""
    if column not in table.column_names:
        raise UserError(
            f"the table has no column {column!r}, but {', '.join(table.column_names)}: "
            "name the one that holds objects"
        )
    return _list(table, column).flatten()


def _list(table: pa.Table, column: str) -> pa.ListArray:
    return table[column].combine_chunks()


def _names(objects: pa.StructArray) -> set[str]:
    return {field.name for field in objects.type}


def _column(objects: pa.StructArray, name: str, column: str) -> npt.NDArray[Any]:
    if name not in _names(objects):
        raise UserError(f"the objects in {column!r} have no field {name!r}: is it predictions?")
    values: npt.NDArray[Any] = objects.field(name).to_numpy(zero_copy_only=False)
    return values


def _class_ids(
    objects: pa.StructArray, labels: Sequence[str], column: str, unknown: Unknown
) -> Ids:
    """Return `(N,)` places of each object's label in `labels`, -1 for one to be left out."""
    encoded = objects.field("label").dictionary_encode()
    place = {label: number for number, label in enumerate(labels)}
    names = encoded.dictionary.to_pylist()
    strange = sorted(str(name) for name in names if name not in place)
    if encoded.null_count or (strange and unknown == "error"):
        raise UserError(
            f"{column!r} has the labels {', '.join(strange[:5]) or 'null'}, which are not among "
            f"the {len(labels)} that are evaluated ({', '.join(labels[:5])} …): rename them, or "
            "leave out what a model finds beyond them with unknown='drop'"
        )
    numbers = np.array([place.get(name, -1) for name in names], np.int64)
    return np.asarray(numbers[encoded.indices.to_numpy()])


def _fields(objects: pa.StructArray) -> Fields:
    """Return the shapes that the objects have."""
    names, fields = _names(objects), Fields()
    if "box" in names:
        fields["boxes_xyxy"] = _rows(objects.field("box"), 4)
    if ROTATED in names:
        fields["boxes_xywhr"] = _rows(objects.field(ROTATED), 5)
    if "keypoints" in names and len(objects):
        fields["keypoints"] = _keypoints(objects.field("keypoints"))
    if "mask" in names:
        fields["masks"] = _masks(objects.field("mask"))
    return fields


def _rows(values: pa.Array, size: int) -> npt.NDArray[np.float64]:
    return np.asarray(values.flatten().to_numpy().reshape(-1, size), np.float64)


def _keypoints(values: pa.ListArray) -> npt.NDArray[np.float64]:
    """Return `(N, K, 3)`; UserError where objects have different numbers of keypoints."""
    counts = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
    if len(counts) != 1:
        raise UserError(f"objects must have the same number of keypoints, but got {counts}")
    return _rows(values.flatten(), 3).reshape(len(values), -1, 3)


def _masks(values: pa.StructArray) -> npt.NDArray[np.object_]:
    masks = np.empty(len(values), object)
    for number, mask in enumerate(values.to_pylist()):
        masks[number] = Rle(tuple(mask["size"]), mask["counts"])
    return masks


def _split(table: pa.Table, key: str, column: str, fields: Fields) -> list[tuple[Key, Fields]]:
    """Return each row's key and its part of the fields, without objects of class -1."""
    sizes = _list(table, column).value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    known = fields["class_ids"] >= 0
    parts = []
    for number, name in enumerate(_keys(table, key)):
        rows = np.arange(bounds[number], bounds[number + 1])
        kept = rows[known[rows]]
        parts.append((name, {field: values[kept] for field, values in fields.items()}))
    return parts


def _keys(table: pa.Table, key: str) -> list[Key]:
    """Return what names each row; UserError where two rows have one name."""
    source = "uri" if key == "name" else key
    if source not in table.column_names:
        raise UserError(
            f"the table has no column {source!r} to name pictures by; it has "
            f"{', '.join(table.column_names)}"
        )
    keys: list[Key] = table[source].to_pylist()
    if key == "name":
        keys = [str(uri).rsplit("/", 1)[-1] for uri in keys]
    if key != "id" and "frame_index" in table.column_names:
        frames = table["frame_index"].to_pylist()
        pairs = zip(keys, frames, strict=True)
        keys = [name if frame is None else f"{name}#{frame}" for name, frame in pairs]
    if len(set(keys)) < len(keys):
        raise UserError(
            f"rows must have different names, but {key!r} names several alike: take the latest "
            "rows only, or key='uri' or 'id'"
        )
    return keys
