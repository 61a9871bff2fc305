"""The two ends of the pipeline: pieces of a manifest as Ray Data's blocks, and blocks as files.

Imported by tasks that only read and write, so it stays light.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from ray.data import DataContext, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasink, WriteResult

from actors.columns import PLACE
from lakesight.lake.manifest import Piece
from lakesight.lake.output import Output


class PieceSource(Datasource):
    """One read task, and so one block, per pending piece of the manifest."""

    def __init__(self, output: Output, pieces: Sequence[Piece]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.output = output
        self.pieces = pieces

    def estimate_inmemory_data_size(self) -> int:
        """Return a few hundred bytes per key: URIs and etags."""
        return 300 * sum(piece.num_rows for piece in self.pieces)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """Return one task per piece, whatever parallelism Ray would like."""
        return [
            ReadTask(
                partial(_read_piece, self.output, piece),
                BlockMetadata(piece.num_rows, 300 * piece.num_rows, None, None),
            )
            for piece in self.pieces
        ]


def _read_piece(output: Output, piece: Piece) -> Iterable[Block]:
    """Yield a piece's keys; none of them if another run has committed it meanwhile."""
    rows = output.read_piece(piece)
    if output.is_committed(piece):
        rows = rows.slice(0, 0)
    yield rows.append_column("_piece", pa.array([piece.name] * rows.num_rows, pa.string()))


@dataclass
class Committed:
    """What one write task did with one piece."""

    piece: str
    num_rows: int
    errors: dict[str, int]
    """Rows with an error, by stage."""
    ours: bool
    """False: another run had committed it first, and this one's rows were dropped."""


class PieceSink(Datasink[list[Committed]]):
    """Writes each piece as one file, by one conditional create."""

    def __init__(self, output: Output, pieces: Sequence[Piece]) -> None:
        self.output = output
        self.pieces = {piece.name: piece for piece in pieces}
        self.committed: list[Committed] = []

    def write(self, blocks: Iterable[Block], ctx: object) -> list[Committed]:
        """Commit the pieces of some blocks; each block is one whole piece."""
        tables = [block for block in blocks if block.num_rows]
        return [self._commit(table) for table in tables]

    def _commit(self, table: pa.Table) -> Committed:
        names = table["_piece"].unique().to_pylist()
        assert len(names) == 1, f"a block holds pieces {names}"
        rows = table.sort_by("_index").drop_columns(PLACE.names)
        errors = [error["stage"] for error in rows["error"].to_pylist() if error]
        return Committed(
            piece=names[0],
            num_rows=rows.num_rows,
            errors={stage: errors.count(stage) for stage in sorted(set(errors))},
            ours=self.output.commit(self.pieces[names[0]], rows),
        )

    def on_write_complete(self, write_result: WriteResult[list[Committed]]) -> None:
        """Keep what the tasks returned, on the driver."""
        self.committed = [one for returned in write_result.write_returns for one in returned]
