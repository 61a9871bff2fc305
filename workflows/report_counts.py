"""What a report counts: asked of the rows by SQL, so that memory does not grow with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lakesight.models.base import ModelSpec
from lakesight.models.columns import column_of
from lakesight.schemas import CROP_CAPTIONS, ROW, is_vector

MAX_LABELS = 24
MAX_ERRORS = 50


@dataclass(frozen=True)
class Columns:
    """The columns that models added, by what they hold."""

    detections: tuple[str, ...]
    classes: tuple[str, ...]
    texts: tuple[str, ...]
    captions: tuple[str, ...]
    """Of several captions a picture."""
    answers: tuple[str, ...]
    crops: tuple[str, ...]
    """Of a text for each object; see `described`."""
    vectors: tuple[str, ...]
    described: Mapping[str, str]
    """By the column of texts, the column of the objects that they are about."""

    @classmethod
    def of(cls, schema: pa.Schema, models: Sequence[ModelSpec] = ()) -> "Columns":
        """Sort the columns of an output by their types; `models` wrote them."""
        added = [field for field in schema if field.name not in ROW.names]
        structs = {field.name: _members(field.type) for field in added}
        return cls(
            detections=tuple(name for name, members in structs.items() if "box" in members),
            classes=tuple(
                name for name, has in structs.items() if "class_id" in has and "box" not in has
            ),
            texts=tuple(field.name for field in added if pa.types.is_string(field.type)),
            captions=tuple(name for name, members in structs.items() if "text" in members),
            answers=tuple(
                name for name, members in structs.items() if {"question", "answer"} <= {*members}
            ),
            crops=tuple(field.name for field in added if field.type == CROP_CAPTIONS),
            vectors=tuple(field.name for field in added if is_vector(field.type)),
            described={
                column_of(one): one.options["detections"]
                for one in models
                if one.card.kind == "caption_crops"
            },
        )

    @property
    def lists(self) -> tuple[str, ...]:
        """Return the columns of a list a picture."""
        return self.detections + self.classes + self.captions + self.answers + self.crops

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the columns that a picture's card shows."""
        return self.lists + self.texts


def _members(kind: pa.DataType) -> list[str]:
    """Return the names inside a list of structs, none for any other type."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return []
    return [field.name for field in kind.value_type]


@dataclass(frozen=True)
class Count:
    """One bar of a histogram."""

    label: str
    count: int
    pictures: int
    percent: float
    """Of the longest bar."""


@dataclass(frozen=True)
class ErrorCount:
    """Rows with the same error."""

    stage: str
    type: str
    message: str
    count: int
    uris: Sequence[str]
    """The first few, in order."""


@dataclass(frozen=True)
class Totals:
    """The whole output in numbers."""

    rows: int
    errors: int
    by_column: dict[str, int]
    """Rows that have something in a model's column: not null, not empty."""


def totals(sql: duckdb.DuckDBPyConnection, columns: Columns) -> Totals:
    """Count rows, errors, and what each model found something in."""
    filled = {name: f"len({quoted(name)}) > 0" for name in columns.lists}
    filled |= {name: f"{quoted(name)} <> ''" for name in columns.texts}
    filled |= {name: f"{quoted(name)} IS NOT NULL" for name in columns.vectors}
    counts = ["count(*)", "count(*) FILTER (status <> 'ok')"]
    counts += [f"count(*) FILTER ({condition})" for condition in filled.values()]
    (row,) = _ask(sql, f"SELECT {', '.join(counts)} FROM rows")
    return Totals(row[0], row[1], dict(zip(filled, row[2:], strict=True)))


def objects(sql: duckdb.DuckDBPyConnection, columns: Columns) -> list[Count]:
    """Count objects by label, the most frequent first, over every column of detections."""
    label = "coalesce(d.label, 'class ' || d.class_id)"
    parts = [f"SELECT [{label} FOR d IN {quoted(name)}] AS labels" for name in columns.detections]
    return _histogram(sql, parts)


def classes(sql: duckdb.DuckDBPyConnection, columns: Columns) -> list[Count]:
    """Count pictures by their best class, the most frequent first."""
    parts = [f"SELECT [{quoted(name)}[1].label] AS labels" for name in columns.classes]
    return _histogram(sql, parts)


def _histogram(sql: duckdb.DuckDBPyConnection, parts: Sequence[str]) -> list[Count]:
    """Count labels; each of `parts` gives a list of them per row."""
    if not parts:
        return []
    rows = " UNION ALL ".join(f"{part} FROM rows" for part in parts)
    found = _ask(
        sql,
        f"WITH seen AS ({rows}), "
        "every AS (SELECT unnest(labels) AS label FROM seen), "
        "once AS (SELECT unnest(list_distinct(labels)) AS label FROM seen) "
        "SELECT * FROM (SELECT label, count(*) AS n FROM every GROUP BY label) "
        "JOIN (SELECT label, count(*) FROM once GROUP BY label) USING (label) "
        "ORDER BY n DESC, label",
    )
    most = found[0][1] if found else 1
    return [
        Count(label, count, pictures, round(100 * count / most, 2))
        for label, count, pictures in found
    ]


def errors(sql: duckdb.DuckDBPyConnection) -> list[ErrorCount]:
    """Group errors by stage, type and message, the most frequent first."""
    found = _ask(
        sql,
        "SELECT error.stage, error.type, error.message, count(*) AS n, min(uri, 3) FROM rows "
        "WHERE error IS NOT NULL GROUP BY 1, 2, 3 ORDER BY n DESC, 1, 2, 3",
    )
    return [ErrorCount(*row) for row in found]


def sample(sql: duckdb.DuckDBPyConnection, columns: Columns, num_pictures: int) -> pa.Table:
    """Return rows of pictures without error: those with the smallest ids, which are hashes.

    So it is a fair sample, and the same one every time.
    """
    names = ["uri", "etag", "width", "height", *columns.shown]
    return sql.sql(
        f"SELECT {', '.join(map(quoted, names))}, NULL::BIGINT AS size FROM rows "
        f"WHERE status = 'ok' AND frame_index IS NULL ORDER BY id LIMIT {num_pictures}"
    ).to_arrow_table()


def _ask(sql: duckdb.DuckDBPyConnection, statement: str) -> list[tuple[Any, ...]]:
    return sql.execute(statement).fetchall()


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
