"""SQL over Arrow datasets, by a DuckDB that can reach nothing else: no file, no network."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from lakesight.errors import UserError

if TYPE_CHECKING:
    from lakesight.lake.reader import Lake


def connect(
    tables: Mapping[str, ds.Dataset | pa.Table], views: Mapping[str, str] | None = None
) -> duckdb.DuckDBPyConnection:
    """Return an in-memory connection that sees `tables` by name, and is locked to them.

    `views` are queries over the tables, by the name of the view; they are trusted.
    """
    connection = duckdb.connect(config={"enable_external_access": "false"})
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
