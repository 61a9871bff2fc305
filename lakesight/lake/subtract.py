"""A listing minus what is known, in DuckDB, which spills to disk rather than grow."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from lakesight.lake.manifest import Generation, join
from lakesight.lake.store import Store
from lakesight.schemas import LISTING, MANIFEST, WORDS, row_id

MEMORY = "512MB"
BATCH_ROWS = 65_536
SET_UP = f"""
SET memory_limit = '{MEMORY}';
SET TimeZone = 'UTC';
CREATE TABLE listing
    (uri VARCHAR, etag VARCHAR, size BIGINT, modified TIMESTAMPTZ,
     prompt VARCHAR, questions VARCHAR[], candidates VARCHAR[], position BIGINT);
CREATE TABLE known (uri VARCHAR, etag VARCHAR, generation INTEGER);
"""
NEW = "FROM fresh ANTI JOIN known USING (uri, etag)"
AGAIN = "FROM fresh SEMI JOIN known USING (uri, etag)"
LATEST = "(FROM known QUALIFY generation = max(generation) OVER (PARTITION BY uri))"

SUPERSEDED = f"FROM (FROM known SELECT DISTINCT uri, etag) ANTI JOIN {LATEST} USING (uri, etag)"


class Subtraction:
    """What is listed (table `listing`), what manifests hold (`known`), and what follows (`fresh`).

    Keeps its tables in a temporary folder: use it as a context manager.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lakesight-plan-")
        self._path = Path(self._folder.name)
        self._sql = duckdb.connect(str(self._path / "plan.duckdb"))
        self._sql.execute(SET_UP)
        self._has_changes = False
        self.num_listed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sql.close()
        self._folder.cleanup()

    def add_listing(self, pages: Iterable[pa.Table]) -> None:
        """Take in tables of schema `LISTING`, with words or without; memory holds one batch."""
        for batch in rebatched(pages, BATCH_ROWS):
            self._sql.register("page", batch)
            self._sql.execute(
                "INSERT INTO listing BY NAME "
                "SELECT *, ? + row_number() OVER () AS position FROM page",
                [self.num_listed],
            )
            self._sql.unregister("page")
            self.num_listed += batch.num_rows

    def add_known(self, store: Store, prefix: str, generation: Generation) -> None:
        """Take in the manifest of a generation."""
        self._has_changes |= generation.num_changed > 0
        for part in (*generation.parts, *generation.again):
            copy = self._path / "part.parquet"
            copy.write_bytes(store.get(join(prefix, part.file)))
            self._sql.execute(
                "INSERT INTO known SELECT uri, etag, ? FROM read_parquet(?)",
                [generation.number, str(copy)],
            )

    def subtract(self) -> None:
        """Compute `fresh`: what is listed and is not the latest known of its uri, each uri once."""
        latest = LATEST if self._has_changes else "known"
        self._sql.execute(
            f"CREATE OR REPLACE TABLE fresh AS FROM listing ANTI JOIN {latest} USING (uri, etag) "
            "QUALIFY row_number() OVER (PARTITION BY uri ORDER BY position) = 1"
        )

    def count_new(self) -> int:
        """Return how many listed objects no manifest has."""
        return self._count(NEW)

    def count_changed(self) -> int:
        """Return how many of `fresh` have a uri that a manifest has, with another etag."""
        return self._count("FROM fresh SEMI JOIN known USING (uri)")

    def new(self, num_rows: int) -> Iterator[pa.Table]:
        """Yield what no manifest has as tables of schema `MANIFEST` with `num_rows` rows each."""
        return self._manifest(NEW, num_rows)

    def again(self, num_rows: int) -> Iterator[pa.Table]:
        """Yield what a manifest has, and has replaced since, in the same form."""
        return self._manifest(AGAIN, num_rows)

    def superseded(self) -> pa.Table:
        """Return `uri` and `etag` of what is known and is not the latest of its uri."""
        return self._sql.sql(SUPERSEDED).to_arrow_table()

    def _count(self, query: str) -> int:
        [(count,)] = self._sql.sql(f"SELECT count(*) {query}").fetchall()
        return int(count)

    def _manifest(self, query: str, num_rows: int) -> Iterator[pa.Table]:
        columns = ", ".join([*LISTING.names, *WORDS.names])
        ordered = self._sql.sql(f"SELECT {columns} {query} ORDER BY position")
        batches = (pa.table(batch) for batch in ordered.to_arrow_reader(BATCH_ROWS))
        for table in rebatched(batches, num_rows):
            pairs = zip(table["uri"].to_pylist(), table["etag"].to_pylist(), strict=True)
            ids = pa.array([row_id(uri, etag) for uri, etag in pairs])
            yield table.add_column(0, "id", ids).cast(MANIFEST)


def rebatched(tables: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of exactly `num_rows` rows, the last one excepted."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(part.num_rows for part in held) >= num_rows:
            whole = pa.concat_tables(held)
            end = whole.num_rows - whole.num_rows % num_rows
            yield from (whole.slice(start, num_rows) for start in range(0, end, num_rows))
            held = [whole.slice(end)]
    rest = pa.concat_tables(held) if held else None
    if rest is not None and rest.num_rows:
        yield rest
