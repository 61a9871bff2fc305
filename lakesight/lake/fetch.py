"""Downloading the objects of a piece: many at a time, and never more bytes than allowed."""

import errno
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import pyarrow as pa

from lakesight.lake.local import LocalStore
from lakesight.lake.s3 import S3Store
from lakesight.lake.store import (
    ChangedError,
    ForbiddenError,
    NoBucketError,
    Store,
    TooLargeError,
)
from lakesight.lake.uri_list import MISSING
from lakesight.lake.uris import is_s3, local_path, split_s3
from lakesight.schemas import object_etag

Reason = Literal["not found", "no bucket", "changed", "forbidden", "unreadable", "too large"]


class FetchError(Exception):
    """Why an object cannot be had, now or later: it becomes an error row."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Request(NamedTuple):
    """One object of a manifest."""

    row: int
    uri: str
    etag: str | None
    """The object's own; None: as it is."""
    held_bytes: int
    """What it may take in memory: its size, or the limit where the manifest knows no size."""
    is_too_large: bool


class Window:
    """How much may be under way: so many objects, so many bytes, but always one object."""

    def __init__(self, max_bytes: int, max_objects: int) -> None:
        self.free_bytes = max_bytes
        self.max_objects = max_objects
        self.num_held = 0

    def has_room(self, num_bytes: int) -> bool:
        """Return whether another object may be begun now."""
        return self.num_held == 0 or (
            self.num_held < self.max_objects and num_bytes <= self.free_bytes
        )

    def take(self, num_bytes: int) -> None:
        """Count an object as begun."""
        self.free_bytes -= num_bytes
        self.num_held += 1

    def give_back(self, num_bytes: int) -> None:
        """Count an object as no longer held."""
        self.free_bytes += num_bytes
        self.num_held -= 1


def fetch(
    rows: pa.Table, *, max_bytes_in_flight: int, concurrency: int, max_object_bytes: int
) -> Iterator[tuple[int, bytes | FetchError]]:
    """Yield `(row, bytes or why not)` for every row of a manifest, in order of completion.

    `rows` has `uri`, `etag` and `size`. Bytes that are being downloaded, or wait for the caller to
    take them, are at most `max_bytes_in_flight`, or one object. An object that is not the one that
    was listed is refused. What may pass (a time-out, a 5xx after retries) is raised as StoreError,
    and wrong credentials as UserError: the piece is then not to be committed.
    """
    answers: queue.SimpleQueue[tuple[Request, bytes | Exception]] = queue.SimpleQueue()
    window = Window(max_bytes_in_flight, concurrency)
    waiting = _requests(rows, max_object_bytes)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="fetch")

    def run(request: Request) -> None:
        answers.put((request, _get(request, max_object_bytes)))

    try:
        for _ in range(rows.num_rows):
            while waiting and window.has_room(waiting[-1].held_bytes):
                window.take(waiting[-1].held_bytes)
                pool.submit(run, waiting.pop())
            request, answer = answers.get()
            if isinstance(answer, Exception) and not isinstance(answer, FetchError):
                raise answer
            yield request.row, answer
            window.give_back(request.held_bytes)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def fetch_one(uri: str, etag: str, max_object_bytes: int) -> bytes:
    """Return the object of one row, by its `uri` and `etag`.

    Raises FetchError where it cannot be had, or is not that one any more; else as `fetch`.
    """
    answer = _get(Request(0, uri, object_etag(etag), 0, False), max_object_bytes)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _requests(rows: pa.Table, max_object_bytes: int) -> list[Request]:
    """Return the requests, the first one last; what is too large will not be downloaded."""
    columns = (rows[name].to_pylist() for name in ("uri", "etag", "size"))
    requests = []
    for row, (uri, etag, size) in enumerate(zip(*columns, strict=True)):
        is_too_large = size is not None and size > max_object_bytes
        held = 0 if is_too_large else max_object_bytes if size is None else size
        own = None if etag is None else object_etag(etag)
        requests.append(Request(row, uri, own, held, is_too_large))
    return requests[::-1]


def _get(request: Request, max_object_bytes: int) -> bytes | Exception:
    """Return the bytes, a FetchError for what will not pass, or what is to be raised."""
    if request.etag == MISSING:
        return FetchError("not found", "did not exist when it was listed")
    if request.is_too_large:
        return _too_large(max_object_bytes)
    try:
        store, key = _locate(request.uri)
        try:
            return store.get(key, if_match=request.etag, max_bytes=max_object_bytes)
        except FileNotFoundError:
            next(store.list(key), None)  # not every server says in a GET that the bucket is gone
            return FetchError("not found", "does not exist any more")
    except NoBucketError as error:
        return FetchError("no bucket", str(error))
    except ChangedError:
        return FetchError("changed", "was overwritten since it was listed: run again to see it")
    except ForbiddenError as error:
        return FetchError("forbidden", str(error))
    except TooLargeError:
        return _too_large(max_object_bytes)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EIO:
            return FetchError("unreadable", "the disk, or the file system, cannot read it")
        return error


def _too_large(max_object_bytes: int) -> FetchError:
    return FetchError("too large", f"has more than {max_object_bytes} bytes")


def _locate(uri: str) -> tuple[Store, str]:
    """Return store and key as `Store.open` does, without a look at the disk."""
    if is_s3(uri):
        bucket, key = split_s3(uri)
        return S3Store(bucket), key
    path = local_path(uri)
    return LocalStore(path.parent), path.name
