"""Corrected labels: a table keyed by `id` or `uri`, whose values take the place of an output's."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.lake.uris import canonical

KEYS = ("id", "uri")


class Corrections(NamedTuple):
    """Values for some rows of an output; null where a row is not to be trained on."""

    key: str
    """`id` or `uri`."""
    names: list[str]
    """The keys of the rows, in the order of `values`."""
    values: pa.ChunkedArray


def read_corrections(uri: str, column: str, value_type: pa.DataType) -> Corrections:
    """Read a Parquet or Arrow file with `id` or `uri`, and the column, as `value_type`.

    Fields may be in any order, and further ones be there. Raises UserError for another type, and
    for a key that is there twice.
    """
    table = _read(uri)
    key = next((name for name in KEYS if name in table.column_names), None)
    if key is None or column not in table.column_names:
        raise UserError(
            f"{uri} needs a column id or uri, and {column!r} with the corrected values; it has "
            f"{', '.join(table.column_names)}"
        )
    try:
        values = table[column].cast(value_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{uri}: {column!r} must be of type {value_type}: {error}") from error
    names = [canonical(name) if key == "uri" else name for name in _names(table[key], uri)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{uri} corrects {twice} twice: leave one of the two rows")
    return Corrections(key, names, values)


def check_complete(corrections: Corrections, fields: Sequence[str], uri: str) -> None:
    """Raise UserError that names a row with an object that lacks what the task needs."""
    for name, lists in zip(corrections.names, corrections.values, strict=True):
        for one in lists.as_py() or ():
            if lacking := [field for field in fields if one[field] is None]:
                raise UserError(f"{uri}: an object of {name} has no {lacking[0]}: complete it")


def _names(keys: pa.ChunkedArray, uri: str) -> list[str]:
    names: list[Any] = keys.to_pylist()
    if not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{uri}: a key is empty or no text")
    return names


def _read(uri: str) -> pa.Table:
    store, key = Store.open(uri)
    try:
        with store.reader(key) as file:
            if PurePosixPath(key).suffix.lower() == ".parquet":
                return pq.read_table(pa.PythonFile(file, "r"))
            return pa.ipc.open_file(pa.PythonFile(file, "r")).read_all()
    except FileNotFoundError:
        raise UserError(f"there is no file of corrections at {uri}") from None
    except (pa.ArrowInvalid, IsADirectoryError) as error:
        raise UserError(f"{uri} is neither Parquet nor an Arrow file: {error}") from error
