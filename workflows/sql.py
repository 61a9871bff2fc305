"""`lakesight sql OUTPUT "SELECT … FROM rows …"`: DuckDB over the committed rows."""

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from lakesight import query
from lakesight.errors import UserError
from lakesight.models.base import Frozen
from workflows import tables


class Sql(Frozen):
    """Ask SQL of the rows of an output, with DuckDB; nothing can be changed.

    The tables:
      rows        each object once, as it is now
      all_rows    also what was seen of objects that have changed since

    Examples:
      lakesight sql seen/ "SELECT uri, caption FROM rows LIMIT 5"
      lakesight sql seen/ "SELECT d.label, count(*) AS n FROM (SELECT unnest(detections) AS d
          FROM rows) GROUP BY ALL ORDER BY n DESC"
      lakesight sql seen/ "SELECT uri FROM rows
          WHERE list_contains([d.label for d in detections], 'dog')" --csv > dogs.csv
      lakesight sql s3://bucket/seen "SELECT error.stage, error.type, count(*) FROM rows
          WHERE status = 'error' GROUP BY ALL" --json
      lakesight sql seen/ "DESCRIBE rows"
    """

    output: CliPositionalArg[str]
    """Folder or s3:// prefix that `lakesight annotate` wrote."""
    statement: CliPositionalArg[str]
    """One SELECT."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a row."""
    csv: bool = False
    """Print CSV with a header; lists and structs become JSON."""
    max_rows: int = Field(default=100, ge=1)
    """Rows of the table that is printed; --json and --csv print all."""

    def run(self) -> int:
        """Print the result; return 0."""
        if self.csv and self.json_output:
            raise UserError("give --json or --csv, not both")
        connection = query.open_rows(lakesight.open(self.output))
        result = query.select(connection, self.statement)
        if self.json_output:
            tables.write_json_lines(_rows(result), sys.stdout)
        elif self.csv:
            tables.write_csv(_rows(result), result.schema.names, sys.stdout)
        else:
            self._print(result)
        return 0

    def _print(self, result: pa.RecordBatchReader) -> None:
        shown = list(islice(_rows(result), self.max_rows + 1))
        more = len(shown) > self.max_rows
        shown = shown[: self.max_rows]
        tables.write_aligned(shown, result.schema.names, sys.stdout)
        print(
            f"The first {len(shown):,} rows; --max-rows, --json or --csv print more"
            if more
            else f"{len(shown):,} row{'' if len(shown) == 1 else 's'}"
        )


def _rows(result: pa.RecordBatchReader) -> Iterator[dict[str, Any]]:
    for batch in result:
        yield from batch.to_pylist()
