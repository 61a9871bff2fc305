"""One bucket or one local folder, by the few operations that Lakesight needs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from pyarrow import fs

from lakesight.errors import UserError
from lakesight.lake.uris import is_s3, local_path, split_s3

ENTRIES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
"""What `Store.list` yields. In `key`, bytes that are not UTF-8 are replaced; `uri` is exact."""


class Entry(NamedTuple):
    """What a store knows of one object without reading it."""

    etag: str
    size: int
    modified: datetime


class StoreError(OSError):
    """The store did not answer as it should, after retries: trying later may help."""


class NoBucketError(UserError):
    """There is no such bucket at the endpoint."""


class ForbiddenError(UserError):
    """The credentials are good, and do not allow this."""


class ChangedError(Exception):
    """The object is no longer the one that was asked for."""


class TooLargeError(Exception):
    """The object is larger than the caller's limit."""


class Store(ABC):
    """Objects by key, with a conditional create. Picklable: clients are made where they are used.

    Methods raise UserError for a missing bucket or wrong credentials, FileNotFoundError for a
    missing object, StoreError for what may pass.
    """

    @classmethod
    def open(cls, uri: str) -> tuple["Store", str]:
        """Return the store that `uri` lies in, and the key or prefix inside it, with no slash last.

        A local folder, existing or not, is a store of its own; a local file lies in its folder's.
        """
        if is_s3(uri):
            from lakesight.lake.s3 import S3Store

            bucket, key = split_s3(uri)
            return S3Store(bucket), key.rstrip("/")
        from lakesight.lake.local import LocalStore

        path = local_path(uri)
        if path.is_file():
            return LocalStore(path.parent), path.name
        return LocalStore(path), ""

    @abstractmethod
    def uri(self, key: str) -> str:
        """Return the URI of an object, as manifests write it."""

    @abstractmethod
    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return an object's bytes.

        Raises ChangedError when its etag is not `if_match`, TooLargeError above `max_bytes`.
        """

    @abstractmethod
    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes `[start, end)` of an object."""

    @abstractmethod
    def reader(self, key: str) -> BinaryIO:
        """Return a file to read and seek in, for Parquet and for long lists."""

    @abstractmethod
    def head(self, key: str) -> Entry | None:
        """Return what is known of an object, or None when there is none."""

    def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        return self.head(key) is not None

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[pa.Table]:
        """Yield what lies under the folder `prefix`, at any depth, as tables of `ENTRIES`."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object whole, over any other."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Write an object as `put` does, from a file of any size: a few parts are in memory."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write an object whole unless there is one: False when somebody was first."""

    @abstractmethod
    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """Return an Arrow file system, and the path in it below which the keys lie."""

    def storage_options(self) -> dict[str, str]:
        """Return the options with which Polars opens the store; for a bucket they hold secrets."""
        return {}

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
