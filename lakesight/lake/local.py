"""A local folder as a store: files appear under their name whole, or not at all."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from lakesight.errors import UserError
from lakesight.lake.store import ENTRIES, ChangedError, Entry, ForbiddenError, Store, TooLargeError
from lakesight.lake.uris import file_uri

TMP = "_tmp"
STALE_S = 24 * 3600
LIST_ROWS = 8192
COPY_BYTES = 8 << 20
_Row = tuple[str, str, str, int, datetime]


@dataclass(frozen=True)
class LocalStore(Store):
    """Keys are paths below `root`, with `/` between folders.

    An etag is a file's time of change and size. In keys, names that are not UTF-8 keep their bytes
    as Python's surrogate escapes.
    """

    root: Path

    def uri(self, key: str) -> str:
        """Return the `file:///…` URI of an object."""
        return file_uri(self.root / key)

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return a file's bytes."""
        with _explained(), (self.root / key).open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if if_match is not None and etag_of(status) != if_match:
                raise ChangedError(key)
            if max_bytes is not None and status.st_size > max_bytes:
                raise TooLargeError(key)
            return file.read()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes `[start, end)` of a file."""
        with _explained(), (self.root / key).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def reader(self, key: str) -> BinaryIO:
        """Return the file, open."""
        with _explained():
            return (self.root / key).open("rb")

    def head(self, key: str) -> Entry | None:
        """Return a file's etag, size and time, or None."""
        try:
            with _explained():
                status = (self.root / key).stat()
        except FileNotFoundError:
            return None
        return Entry(etag_of(status), status.st_size, _modified(status))

    def list(self, prefix: str = "") -> Iterator[pa.Table]:
        """Yield the files below the folder `prefix` by name; linked folders are not followed."""
        rows: list[_Row] = []
        for key, status in _walk(self.root / prefix, prefix):
            shown = os.fsencode(key).decode(errors="replace")
            rows.append((shown, self.uri(key), etag_of(status), status.st_size, _modified(status)))
            if len(rows) == LIST_ROWS:
                yield _table(rows)
                rows = []
        if rows:
            yield _table(rows)

    def put(self, key: str, data: bytes) -> None:
        """Write a file whole, over any other."""
        with self._written(data) as tmp:
            self._name(tmp, key)

    def put_file(self, key: str, path: Path) -> None:
        """Copy a file, over any other."""
        with path.open("rb") as source, self._written(source) as tmp:
            self._name(tmp, key)

    def _name(self, tmp: Path, key: str) -> None:
        path = self.root / key
        _make(path.parent)
        tmp.replace(path)
        _sync(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file whole unless there is one: a hard link either makes the name or fails."""
        path = self.root / key
        with self._written(data) as tmp:
            _make(path.parent)
            try:
                path.hardlink_to(tmp)
            except FileExistsError:
                return False
            _sync(path.parent)
            return True

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """Return the local file system and the folder."""
        return fs.LocalFileSystem(), str(self.root)

    def delete(self, key: str) -> None:
        """Remove a file."""
        with _explained():
            (self.root / key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what writers that died more than a day ago have left unfinished."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in (self.root / TMP).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > STALE_S:
                        path.unlink()

    @contextlib.contextmanager
    def _written(self, data: bytes | BinaryIO) -> Iterator[Path]:
        """Write `data` beside the tree, safe on disk; the name is gone afterwards."""
        folder = self.root / TMP
        tmp = folder / uuid4().hex
        with _explained():
            _make(folder)
            try:
                with tmp.open("xb") as file:
                    if isinstance(data, bytes):
                        file.write(data)
                    else:
                        shutil.copyfileobj(data, file, COPY_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
                yield tmp
            finally:
                tmp.unlink(missing_ok=True)


def etag_of(status: os.stat_result) -> str:
    """Return the etag of a local file: its time of change in ns and its size, in hex."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Depth first, so that memory holds one folder a level."""
    try:
        with _explained(), os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        key = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, key)
        elif entry.is_file():
            with contextlib.suppress(FileNotFoundError):
                yield key, entry.stat()


def _table(rows: list[_Row]) -> pa.Table:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, ENTRIES, strict=True)],
        schema=ENTRIES,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"cannot write to {folder}: a part of that path is a file") from None


def _sync(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise ForbiddenError(f"no permission for {error.filename}: check who owns it") from None
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, error.filename) from None
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise ForbiddenError(f"{error.filename} is on a read-only file system") from None
