"""SQL over Arrow datasets, by a DuckDB that can reach nothing else: no file, no network."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from lakesight.errors import UserError

if TYPE_CHECKING:
    from lakesight.lake.reader import Lake

LIMITS = {"memory_limit": "1GB", "threads": "2", "max_temp_directory_size": "0KB"}
"""Of a connection for strangers."""
_BOUNDED = """
+ - * / // % ** || ~~ !~~ ~~* !~~* ~~~ abs array_contains array_has array_length avg cardinality
ceil ceiling coalesce concat contains cos date_part date_trunc day ends_with exp floor greatest
hour ifnull ilike_escape instr isfinite isinf isnan least left len length like_escape list_aggr
list_aggregate list_any_value list_apply list_avg list_contains list_count list_distinct
list_element list_extract list_filter list_first list_has list_has_all list_has_any list_last
list_max list_min list_position list_slice list_sort list_sum list_transform list_unique ln log
log10 lower ltrim minute mod month not_ilike_escape not_like_escape now nullif position pow
power prefix regexp_extract regexp_full_match regexp_matches reverse right round rtrim
second sign sin split_part sqrt starts_with string_split strip_accents strlen strpos
struct_extract struct_pack substr substring suffix to_days to_hours to_minutes to_months
to_seconds to_years trim trunc try_cast upper year
"""
BOUNDED = frozenset(_BOUNDED.split())
"""Functions of which neither the result nor the time is more than what goes in."""
MAX_NESTED = 2
"""Lambdas in each other: each goes over a list for every element of the one around it."""


def connect(
    tables: Mapping[str, ds.Dataset | pa.Table],
    views: Mapping[str, str] | None = None,
    *,
    limited: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Return an in-memory connection that sees `tables` by name, and is locked to them.

    `views` are queries over the tables, by the name of the view; they are trusted. One that is
    `limited` has little memory, and no disk: for conditions of strangers.
    """
    limits = LIMITS if limited else {}
    connection = duckdb.connect(config={"enable_external_access": "false", **limits})
    connection.execute("SET python_enable_replacements = false")
    for name, table in tables.items():
        connection.register(name, widen(table))
    for name, statement in (views or {}).items():
        connection.execute(f"CREATE VIEW {name} AS {statement}")
    connection.execute("SET lock_configuration = true")
    return connection


def open_rows(lake: "Lake") -> duckdb.DuckDBPyConnection:
    """Return a connection to an output: `rows`, each object as it is now, and `all_rows`.

    Raises:
        UserError: if nothing has been written that could be asked for.
    """
    rows, superseded = lake.dataset(), lake.superseded()
    if not rows.schema.names:
        raise UserError(f"{lake.output.uri} has no rows yet: run `lakesight annotate` to its end")
    if not superseded.num_rows:
        return connect({"rows": rows, "all_rows": rows})
    latest = "FROM all_rows ANTI JOIN superseded USING (uri, etag)"
    return connect({"all_rows": rows, "superseded": superseded}, {"rows": latest})


def select(connection: duckdb.DuckDBPyConnection, statement: str) -> pa.RecordBatchReader:
    """Run one `SELECT` and stream its result.

    Raises:
        UserError: if it is not one reading statement, or DuckDB refuses it.
    """
    try:
        kinds = [parsed.type for parsed in connection.extract_statements(statement)]
        if kinds not in ([duckdb.StatementType.SELECT], [duckdb.StatementType.EXPLAIN]):
            raise UserError("expected one SELECT statement: the tables here can only be read")
        reader = connection.sql(statement).to_arrow_reader()
    except duckdb.Error as error:
        raise UserError(f"SQL: {one_line(error)}") from error
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader))


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except OSError as error:  # how Arrow passes on what DuckDB says in the middle of a result
        raise UserError(f"SQL: {one_line(error)}") from error


@contextmanager
def within(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Stop what the connection does after so many seconds; None for never.

    Raises:
        UserError: where it was stopped.
    """
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    except UserError as error:
        if timer.is_alive():
            raise
        raise UserError(f"SQL: it took longer than {seconds:g} s") from error
    finally:
        timer.cancel()
        timer.join()


def check_expression(text: str) -> None:
    """Raise `UserError` unless `text` is one SQL expression that can stand after `WHERE`."""
    template, parsed = _parse("1"), _parse(text)
    if template | {"select_list": None} != parsed | {"select_list": None} or len(
        parsed["select_list"]
    ) != len(template["select_list"]):
        raise UserError(f'expected one SQL condition such as "width > 640", got {text!r}')


def check_bounded(text: str) -> None:
    """Raise `UserError` for an expression that could take much memory or long for one row.

    DuckDB can be interrupted between rows only.
    """
    _check_bounded(_parse(text)["select_list"], 0)


def _check_bounded(node: Any, depth: int) -> None:
    if isinstance(node, list):
        for one in node:
            _check_bounded(one, depth)
    if not isinstance(node, dict):
        return
    kind, name = node.get("class"), node.get("function_name")
    if kind in ("SUBQUERY", "WINDOW"):
        raise UserError("SQL: expected a condition on the row itself, without a query inside")
    if kind == "FUNCTION" and name not in BOUNDED:
        raise UserError(f"SQL: the function {name} may not be used here; see docs/serving.md")
    depth += kind == "LAMBDA"
    if depth > MAX_NESTED:
        raise UserError(f"SQL: more than {MAX_NESTED} lists are gone through in each other")
    for one in node.values():
        _check_bounded(one, depth)


def one_line(error: Exception) -> str:
    """Return what DuckDB says, without the excerpt of the statement that follows."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())


def widen(table: ds.Dataset | pa.Table) -> ds.Dataset | pa.Table:
    """Return the same rows with float32 for float16, which DuckDB cannot read from Arrow."""
    schema = pa.schema([field.with_type(_widened(field.type)) for field in table.schema])
    if schema.equals(table.schema):
        return table
    if isinstance(table, pa.Table):
        return table.cast(schema)
    if not isinstance(table, ds.FileSystemDataset):
        return ds.dataset(table.to_table().cast(schema))
    files = list(table.get_fragments())
    return ds.FileSystemDataset(files, schema, table.format, table.filesystem)


def _widened(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_widened(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_widened(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_widened(field.type)) for field in kind])
    return kind


@lru_cache(maxsize=64)
def _parse(expression: str) -> dict[str, Any]:
    """Return the syntax tree of `SELECT (expression)`, without the positions in the text."""
    statement = f"SELECT (\n{expression}\n)"
    with duckdb.connect() as connection:
        (serialised,) = connection.execute(
            "SELECT json_serialize_sql(?::VARCHAR)", [statement]
        ).fetchall()[0]
    answer = json.loads(serialised)
    if answer["error"]:
        raise UserError(f"SQL: {answer['error_message']} in {expression!r}")
    node: dict[str, Any] = answer["statements"][0]["node"]
    return {"select_list": []} | node
