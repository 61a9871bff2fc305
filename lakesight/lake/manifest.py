"""The frozen manifests of an output: generations, their parts and their pieces."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from lakesight.lake.source import Source
from lakesight.lake.store import Store
from lakesight.schemas import MANIFEST

COMMITS = "_commits"
FOLDER = f"{COMMITS}/manifest"
PART_ROWS = 65_536


class Part(BaseModel):
    """One Parquet file of a manifest; each of its row groups is one piece."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    file: str
    """Key, relative to the output."""
    num_rows: int = Field(gt=0)


class Generation(BaseModel):
    """What one listing added: the content of `_commits/<number>.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    number: int = Field(gt=0)
    created: AwareDatetime
    source: Source
    rows_per_file: int = Field(gt=0)
    num_keys: int
    """Objects to process: rows of `parts`."""
    num_pieces: int
    num_changed: int
    """Objects in `parts` and `again` whose uri an earlier generation had with another etag."""
    parts: tuple[Part, ...]
    again: tuple[Part, ...] = ()
    """Objects that are as they once were: processed long ago, and the latest of their uri again."""

    def pieces(self) -> Iterator["Piece"]:
        """Yield the pieces in the order of the manifest."""
        index = 0
        for part in self.parts:
            for row_group, start in enumerate(range(0, part.num_rows, self.rows_per_file)):
                num_rows = min(self.rows_per_file, part.num_rows - start)
                yield Piece(self.number, index, part.file, row_group, num_rows)
                index += 1


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a manifest that become one data file. Small and picklable."""

    generation: int
    index: int
    manifest_file: str
    row_group: int
    num_rows: int

    @property
    def name(self) -> str:
        """The one name that its data file can have, without `.parquet`."""
        return f"{self.generation:05}-{self.index:06}"


def write_parts(
    store: Store, prefix: str, batches: Iterable[pa.Table], rows_per_file: int
) -> tuple[Part, ...]:
    """Write rows of schema `MANIFEST` as part files under fresh names.

    Each table of `batches` but the last must hold `rows_per_file` rows: it becomes a row group.
    """
    run = uuid4().hex
    parts: list[Part] = []
    per_part = max(1, PART_ROWS // rows_per_file)
    for tables in _grouped(batches, per_part):
        file = f"{FOLDER}/{run}-{len(parts):05}.parquet"
        store.put(join(prefix, file), _encode(tables))
        parts.append(Part(file=file, num_rows=sum(table.num_rows for table in tables)))
    return tuple(parts)


def _grouped(tables: Iterable[pa.Table], size: int) -> Iterator[list[pa.Table]]:
    group: list[pa.Table] = []
    for table in tables:
        group.append(table)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _encode(tables: list[pa.Table]) -> bytes:
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, MANIFEST, compression="zstd", use_dictionary=False) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=table.num_rows)
    return buffer.getvalue()


def join(prefix: str, key: str) -> str:
    """Return the key of something in an output that lies under `prefix` of its store."""
    return f"{prefix}/{key}" if prefix else key
