"""Files that are whole whenever they are there, and folders that one process at a time writes."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lakesight.errors import UserError

log = logging.getLogger(__name__)

LOCK = ".lock"
PART = ".part"
"""Suffix of a file that is being written, or that a killed process has left."""
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
"""What `flock` says where there are none; the last where NFS would lock a folder."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where to write what becomes `path` at the end, whoever else writes it too.

    Where the body fails, or the process is killed, `path` stays as it was.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}{PART}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is whole whenever it is there."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def locked(folder: Path, busy: str | None) -> Iterator[None]:
    """Keep other processes from a folder, which is made where there is none.

    Where another one holds it, raises UserError with the sentence `busy`, or waits without one.
    The lock is on a file, as NFS wants it, and ends with the process, however that ends. Where the
    file system knows no locks, that is a warning.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder, got the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        _flock(file.fileno(), folder, busy)
        yield


@contextmanager
def locked_itself(folder: Path, busy: str) -> Iterator[None]:
    """Keep other processes from a folder in which no file of ours shall lie.

    As `locked`, but the lock is on the folder, which is there.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flock(handle, folder, busy)
        yield
    finally:
        os.close(handle)


def _flock(handle: int, folder: Path, busy: str | None) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError as error:
        raise UserError(busy) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s cannot be locked: let no second run write there", folder)
