"""What an index is made of: the pictures of an output, by what `annotate --embed` wrote of them."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from indexes.build import row_schema, shape_of
from indexes.manifest import Holds
from lakesight.errors import UserError
from lakesight.lake.reader import Lake
from lakesight.models.base import ModelSpec
from lakesight.models.columns import embedder_of
from lakesight.schemas import is_vector
from workflows import tables

BATCH_ROWS, BATCH_BYTES = 8192, 16 << 20
"""What is taken in at once: so many rows, or fewer where they are large. Reading nested numbers of
two bytes from Parquet takes five times their size."""
SEVERAL = 32
"""The vectors of a row that has a list of them, for how large it may be."""


@dataclass(frozen=True)
class Content:
    """Rows with vectors, to be indexed."""

    holds: Holds
    source: str
    """Where they are from."""
    fingerprint: str
    """Digest of what they depend on."""
    column: str
    """Where the vectors, or the texts that they are of, are from."""
    model: ModelSpec | None
    """What made the vectors; None where nobody knows."""
    schema: pa.Schema
    """Of the rows."""
    vectors: str
    """The column of the rows that holds the vectors; `features` that of the features."""
    features: str | None
    rows: Callable[[], Iterator[pa.Table]]
    """Yield them, a few at a time."""


def pictures(lake: Lake, column: str, features: str | None) -> Content:
    """Return the pictures of an output; UserError where a column holds something else."""
    _check_column(lake, column)
    if features is not None:
        _check_features(lake, column, features)
    return Content(
        holds="pictures",
        source=lake.output.uri,
        fingerprint=fingerprint(lake, column, {} if features is None else {"features": features}),
        column=column,
        model=model_of(lake, column),
        schema=lake.dataset().schema,
        vectors=column,
        features=features,
        rows=lambda: batches(lake, column, features),
    )


def _check_column(lake: Lake, column: str) -> None:
    """Raise UserError unless the output has vectors in that column."""
    schema = lake.dataset().schema
    fitting = [field.name for field in schema if is_vector(field.type)]
    if column in fitting:
        return
    check_rows(lake)
    found = str(schema.field(column).type) if column in schema.names else "no such column"
    hint = (
        f"give --column {' or '.join(fitting)}"
        if fitting
        else "give `lakesight annotate` a model by --embed, and another output"
    )
    raise UserError(f"expected vectors in the column {column!r}, got {found}: {hint}")


def check_rows(lake: Lake) -> None:
    """Raise UserError for an output that has no rows yet."""
    if not lake.dataset().schema.names:
        raise UserError("the output has no rows yet: run `lakesight annotate` to its end first")


def _check_features(lake: Lake, column: str, features: str) -> None:
    """Raise UserError unless the output has features there, of the model that made the vectors."""
    schema = lake.dataset().schema
    if features not in schema.names:
        raise UserError(f"{lake.output.uri} has no column {features!r} of features")
    shape_of(schema.field(features).type)
    made, seen = model_of(lake, column), model_of(lake, features)
    if made is None or seen is None or made.card.sha256 != seen.card.sha256:
        names = [one.card.name if one else "an unknown model" for one in (made, seen)]
        raise UserError(
            f"the vectors in {column!r} are of {names[0]}, and the features in {features!r} of "
            f"{names[1]}: one model is to search and to match, so embed both by the same weights"
        )


def batches(lake: Lake, column: str, features: str | None = None) -> Iterator[pa.Table]:
    """Yield the latest rows, with what an index takes of them and nothing else.

    Of all but the last there are at least `BATCH_ROWS`, or `BATCH_BYTES`.
    """
    schema = lake.dataset().schema
    large = [column, *([features] if features else [])]
    names = [*row_schema(schema).names[1:], *large]
    max_rows = BATCH_BYTES // sum(_num_bytes(schema.field(name).type) for name in large)
    held: list[pa.RecordBatch] = []
    num_rows = size = 0
    for batch in lake.latest(names, max(1, max_rows) if max_rows < BATCH_ROWS else None):
        held.append(batch)
        num_rows, size = num_rows + batch.num_rows, size + batch.nbytes
        if num_rows >= BATCH_ROWS or size >= BATCH_BYTES:
            yield pa.Table.from_batches(held)
            held, num_rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _num_bytes(kind: pa.DataType) -> int:
    """Return how large a value of vectors or features is, `SEVERAL` being in a list."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _num_bytes(kind.value_type)
    if pa.types.is_list(kind):
        return SEVERAL * _num_bytes(kind.value_type)
    return int(kind.byte_width)


def fingerprint(lake: Lake, column: str, more: dict[str, object]) -> str:
    """Return a digest of what an index of an output depends on: settings, manifests, data files."""
    told = {
        "column": column,
        **more,
        "settings": lake.settings,
        "generations": [each.model_dump(mode="json") for each in lake.output.generations()],
        "files": lake.files(),  # never written twice, and the very ones that the build will read
    }
    return digest(told)


def digest(told: dict[str, object]) -> str:
    """Return the hex digest of what can be told as JSON."""
    return hashlib.sha256(tables.as_json(told).encode()).hexdigest()


def model_of(lake: Lake, column: str) -> ModelSpec | None:
    """Return the model that wrote a column of vectors, or of features; None where nobody says."""
    return embedder_of(lake.settings.get("models", ()), column)
