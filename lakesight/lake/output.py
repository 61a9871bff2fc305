"""An output: how rows become visible once, and only once, whoever is killed and whoever races.

The protocol and why it holds: docs/decisions/0001-commit-protocol.md.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakesight.errors import UserError
from lakesight.lake.data_file import encode
from lakesight.lake.local import LocalStore
from lakesight.lake.manifest import COMMITS, Generation, Piece, join, write_parts
from lakesight.lake.settings import Essence, Settings, differences
from lakesight.lake.source import Source
from lakesight.lake.store import ForbiddenError, Store
from lakesight.lake.subtract import Subtraction
from lakesight.schemas import MANIFEST, WORDS

JSON = Any
DATA = "data"
RUNS = "_runs"
GETS_IN_FLIGHT = 16
SETTINGS = f"{COMMITS}/00000.json"
GENERATION = re.compile(rf"(?:^|/){COMMITS}/\d+\.json$")
DATA_FILE = re.compile(rf"(?:^|/){DATA}/(\d+-\d+)\.parquet$")


@dataclass(frozen=True)
class PlanResult:
    """What listing a source found."""

    num_listed: int
    num_known: int
    """Listed objects that the output has, or has already planned."""
    num_new: int
    skipped: Mapping[str, int]
    """By suffix, the keys below the source that are no images, or were excluded."""
    generation: int | None
    """The number of the generation that was added; None when there was nothing to add."""


@dataclass(frozen=True)
class Output:
    """A folder or a prefix that holds, or will hold, rows. Picklable."""

    store: Store
    prefix: str

    @classmethod
    def open(cls, uri: str) -> "Output":
        """Open an output, which need not exist yet; nothing is written."""
        return cls(*Store.open(uri))

    @property
    def uri(self) -> str:
        """The URI of the output."""
        return self.store.uri(self.prefix)

    def check_writable(self) -> None:
        """Find out, before any work, whether objects can be created here, and only once each.

        Raises UserError for no permission, and for a store that ignores `If-None-Match`.
        """
        if isinstance(self.store, LocalStore):
            self.store.sweep()
        key = join(self.prefix, f"_tmp/{uuid4().hex}")
        try:
            first, second = self.store.create(key, b""), self.store.create(key, b"")
        except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
            raise UserError(f"cannot make the folder {self.uri}: {error.strerror}") from error
        with contextlib.suppress(ForbiddenError):
            self.store.delete(key)
        if not first or second:
            raise UserError(
                f"{self.uri}: this store ignores If-None-Match, so that two runs could overwrite "
                "each other: use one that keeps it (AWS S3, MinIO, SeaweedFS, Ceph ...)"
            )

    def bind(
        self,
        settings: Mapping[str, JSON],
        schema: pa.Schema | None = None,
        essence: Essence = dict,
    ) -> None:
        """Make these the settings of the output, or compare: whoever writes them first wins.

        `schema` is that of the rows; readers see it even where there are none. `essence` picks what
        is compared. Raises UserError that names what differs.
        """
        if not self.store.create(self._key(SETTINGS), Settings(settings, schema).to_bytes()):
            self.compare(settings, schema, essence)

    def compare(
        self,
        settings: Mapping[str, JSON],
        schema: pa.Schema | None = None,
        essence: Essence = dict,
    ) -> None:
        """Raise UserError where the output is bound to other settings, and name what differs.

        Nothing is written.
        """
        try:
            found = Settings.from_bytes(self.store.get(self._key(SETTINGS)))
        except FileNotFoundError:
            return
        if changes := differences(found, Settings(settings, schema), essence):
            raise UserError(
                f"{self.uri} was made with other settings: {'; '.join(changes)}. "
                "Use the same settings, or another output"
            )

    def is_bound(self) -> bool:
        """Return whether there is an output here; costs one HEAD."""
        return self.store.exists(self._key(SETTINGS))

    def settings(self) -> Settings:
        """Return the settings that the output is bound to.

        Raises UserError when there is no output here.
        """
        try:
            return Settings.from_bytes(self.store.get(self._key(SETTINGS)))
        except FileNotFoundError:
            raise UserError(f"there is no output of Lakesight at {self.uri}") from None

    def generations(self) -> list[Generation]:
        """Return every generation, in order."""
        names = sorted(
            key
            for page in self.store.list(self._key(COMMITS))
            for key in page["key"].to_pylist()
            if GENERATION.search(key) and not key.endswith(SETTINGS)
        )
        with ThreadPoolExecutor(GETS_IN_FLIGHT) as pool:
            return list(map(Generation.model_validate_json, pool.map(self.store.get, names)))

    def plan(
        self,
        source: Source,
        rows_per_file: Callable[[int], int] | int,
        before_writing: Callable[[], None] | None = None,
    ) -> PlanResult:
        """List the source, subtract what is known, and commit a generation if anything is left.

        `rows_per_file` is asked with the number of new objects; `before_writing` is called once the
        listing has begun. Raises UserError when the source is empty, unless something that was
        planned before is still pending. Who loses the race for a generation's number
        subtracts again what the winner added.
        """
        skipped: Counter[str] = Counter()
        pages = source.list(skipped)
        first = next(pages, None)
        if first is None and not self.pending():
            raise UserError(_nothing(source, skipped))
        if before_writing:
            before_writing()
        with Subtraction() as work:
            if first is not None:
                work.add_listing(chain([first], pages))
            number = 0
            while True:
                for generation in self.generations()[number:]:
                    work.add_known(self.store, self.prefix, generation)
                    number = generation.number
                proposal = self._propose(work, source, rows_per_file, number + 1)
                num_new = proposal.num_keys if proposal else 0
                if proposal is None or self._commit_generation(proposal):
                    return PlanResult(
                        num_listed=work.num_listed,
                        num_known=work.num_listed - num_new,
                        num_new=num_new,
                        skipped=skipped,
                        generation=proposal.number if proposal else None,
                    )

    def _propose(
        self,
        work: Subtraction,
        source: Source,
        rows_per_file: Callable[[int], int] | int,
        number: int,
    ) -> Generation | None:
        """Write the manifest of what is new; None when there is nothing."""
        work.subtract()
        num_new, num_changed = work.count_new(), work.count_changed()
        if not num_new and not num_changed:
            return None
        rows = rows_per_file if isinstance(rows_per_file, int) else rows_per_file(num_new)
        return Generation(
            number=number,
            created=datetime.now(UTC),
            source=source,
            rows_per_file=rows,
            num_keys=num_new,
            num_pieces=-(-num_new // rows),
            num_changed=num_changed,
            parts=write_parts(self.store, self.prefix, work.new(rows), rows),
            again=write_parts(self.store, self.prefix, work.again(rows), rows),
        )

    def _commit_generation(self, proposal: Generation) -> bool:
        """Take the number for this proposal, also when the answer to our own PUT got lost."""
        key = self._key(f"{COMMITS}/{proposal.number:05}.json")
        data = proposal.model_dump_json(indent=1).encode()
        if self.store.create(key, data) or self.store.get(key) == data:
            return True
        with contextlib.suppress(ForbiddenError):
            for part in (*proposal.parts, *proposal.again):
                self.store.delete(self._key(part.file))
        return False

    def pieces(self) -> list[Piece]:
        """Return the pieces of every generation, in order."""
        return [piece for each in self.generations() for piece in each.pieces()]

    def pending(self) -> list[Piece]:
        """Return the pieces that have no data file yet."""
        done = set(self.committed())
        return [piece for piece in self.pieces() if piece.name not in done]

    def committed(self) -> list[str]:
        """Return the names of the pieces that have a data file."""
        keys = (key for page in self.store.list(self._key(DATA)) for key in page["key"].to_pylist())
        found = (DATA_FILE.search(key) for key in keys)
        return [match.group(1) for match in found if match]

    def has_rows(self) -> bool:
        """Return whether any piece is committed; costs one listing of one page."""
        return next(self.store.list(self._key(DATA)), None) is not None

    def read_piece(self, piece: Piece) -> pa.Table:
        """Return the manifest's rows of a piece, schema `MANIFEST`."""
        with (
            self.store.reader(self._key(piece.manifest_file)) as file,
            pq.ParquetFile(pa.PythonFile(file, "r")) as parquet,
        ):
            rows = parquet.read_row_group(piece.row_group)
        for word in WORDS:
            if word.name not in rows.column_names:  # planned before a list could bring words
                rows = rows.append_column(word, pa.nulls(rows.num_rows, word.type))
        return rows.cast(MANIFEST)

    def read_rows(self, piece: Piece, columns: Sequence[str]) -> pa.Table:
        """Return some columns of the committed rows of a piece."""
        with self.store.reader(self.data_key(piece.name)) as file:
            return pq.read_table(pa.PythonFile(file, "r"), columns=list(columns))

    def is_committed(self, piece: Piece) -> bool:
        """Return whether the rows of a piece are there; costs one HEAD."""
        return self.store.exists(self.data_key(piece.name))

    def commit(self, piece: Piece, table: pa.Table, planned: pa.Table | None = None) -> bool:
        """Write the rows of a piece; False when somebody was first, and nothing was written.

        `planned` is what `read_piece` gave, where it is at hand; it is read again elsewhere. Raises
        ValueError for rows that are not exactly the objects of the piece, or not of the schema of
        the output: our own mistake, never written.
        """
        self._check(piece, table, self.read_piece(piece) if planned is None else planned)
        return self.store.create(self.data_key(piece.name), encode(table))

    def _check(self, piece: Piece, table: pa.Table, planned: pa.Table) -> None:
        expected, found = _keys(planned), _keys(table)
        if expected != found:
            raise ValueError(
                f"piece {piece.name}: {len(expected - found)} objects of the manifest have no row, "
                f"{len(found - expected)} rows are of no object of the manifest"
            )
        if "id" in table.column_names and pc.count_distinct(table["id"]).as_py() < table.num_rows:
            raise ValueError(f"piece {piece.name}: some rows are there twice")
        schema = self._schema
        if schema is not None and not table.schema.equals(schema):
            raise ValueError(f"piece {piece.name}: expected rows of\n{schema}\ngot\n{table.schema}")

    @cached_property
    def _schema(self) -> pa.Schema | None:
        return self.settings().schema

    def record_run(self, run_id: str, record: Mapping[str, JSON]) -> None:
        """Write down a run; the last thing that it does."""
        data = json.dumps(dict(record), indent=1, default=str).encode()
        self.store.put(self._key(f"{RUNS}/{run_id}.json"), data)

    def runs(self) -> list[dict[str, JSON]]:
        """Return what the finished runs have written down, in order of their ids."""
        keys = sorted(
            key for page in self.store.list(self._key(RUNS)) for key in page["key"].to_pylist()
        )
        with ThreadPoolExecutor(GETS_IN_FLIGHT) as pool:
            return list(map(json.loads, pool.map(self.store.get, keys)))

    def data_key(self, name: str) -> str:
        """Return the key of the data file of a piece."""
        return self._key(f"{DATA}/{name}.parquet")

    def _key(self, key: str) -> str:
        return join(self.prefix, key)


def _keys(table: pa.Table) -> set[tuple[str, str]]:
    return set(zip(table["uri"].to_pylist(), table["etag"].to_pylist(), strict=True))


def _nothing(source: Source, skipped: Counter[str]) -> str:
    if not skipped:
        return f"there is nothing at {source.uri}"
    kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in skipped.items())
    return f"there are no images at {source.uri}, but {kinds}: name what to take with --include"
