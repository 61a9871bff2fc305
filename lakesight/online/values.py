"""Arrow values as JSON: every number reads back as exactly the one that a row would hold."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json


def plain(column: pa.Array) -> list[Any]:
    """Return a column as Python values whose JSON is as short as it can be.

    A float32 (or float16) becomes the float whose shortest decimal is the float32's own: JSON then
    says 0.9 and not 0.8999999761581421, and who reads it as float32 has the same bits.
    """
    return list(_shortened(column).to_pylist())


def short(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return float32 as the floats that `plain` gives."""
    shortened = _shortened(pa.array(np.ascontiguousarray(values, np.float32).ravel()))
    return np.asarray(shortened.to_numpy(zero_copy_only=False)).reshape(values.shape)


def as_vectors(values: Any) -> npt.NDArray[np.float32]:
    """Return what `plain` made of vectors as the float32 that they were."""
    return np.asarray(values, dtype=np.float32)


def encode(value: Any) -> bytes:
    """Return JSON in UTF-8; what is no number (NaN, infinity) becomes null."""
    return to_json(value, inf_nan_mode="null", bytes_mode="base64")


def _shortened(column: pa.Array) -> pa.Array:
    """Return the column with float64 for every float32 and float16, at any depth."""
    kind = column.type
    if not _has_short_floats(kind):
        return column
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return pc.cast(pc.cast(pc.cast(column, pa.float32()), pa.string()), pa.float64())
    nulls = column.is_null() if column.null_count else None
    if pa.types.is_struct(kind):
        parts = [_shortened(column.field(place)) for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, [field.name for field in kind], mask=nulls)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        inner = column.values.slice(column.offset * size, len(column) * size)
        return pa.FixedSizeListArray.from_arrays(_shortened(inner), size, mask=nulls)
    assert pa.types.is_list(kind), f"no JSON is known for {kind}"
    starts = column.offsets.to_numpy()
    inner = column.values.slice(starts[0], starts[-1] - starts[0])
    offsets = pa.array(starts - starts[0], pa.int32())
    return pa.ListArray.from_arrays(offsets, _shortened(inner), mask=nulls)


def _has_short_floats(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _has_short_floats(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_has_short_floats(field.type) for field in kind)
    return bool(pa.types.is_float16(kind) or pa.types.is_float32(kind))
