"""How the rows of a piece are encoded."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 16_384
UNIQUE = {"id", "uri", "etag", "embedding"}
"""Columns whose values hardly repeat: a dictionary would only be built and thrown away."""


def encode(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return buffer.getvalue()
