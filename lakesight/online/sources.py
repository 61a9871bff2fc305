"""Pictures that a request names by URI: from s3:// prefixes, and from https where switched on."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import Field, field_validator

from lakesight.errors import UserError
from lakesight.lake.fetch import FetchError, fetch_one
from lakesight.lake.s3 import S3Store
from lakesight.lake.store import (
    ForbiddenError,
    NoBucketError,
    StoreError,
    TooLargeError,
)
from lakesight.lake.uris import is_s3
from lakesight.models.base import Frozen
from lakesight.online import https
from lakesight.online.access import Caller
from lakesight.online.https import HttpsSettings
from lakesight.online.prefixes import Prefix, locate
from lakesight.online.problems import Problem

Reason = Literal["not found", "no bucket", "forbidden", "unreadable", "too large"]
MIB = 1 << 20

log = logging.getLogger(__name__)


GONE = {
    "not found": "it is not where it was looked at",
    "no bucket": "its bucket is not there any more",
    "changed": "it was overwritten since it was looked at",
    "forbidden": "the store does not let the server read it",
    "unreadable": "the disk cannot read it",
    "too large": "it is too large",
}
"""Why the object of a row cannot be had, by the reason of `FetchError`."""


class SourceSettings(Frozen):
    """From where pictures may come, besides the request itself."""

    s3: tuple[str, ...] = ()
    """s3:// prefixes; a key must allow them too. Empty: none."""
    https: HttpsSettings = HttpsSettings()
    rows: bool = True
    """Whether who may search an index may see its pictures, made small (`Sources.of_row`)."""
    max_bytes: int = Field(default=64 * MIB, gt=0)
    """One object of a bucket."""
    max_fetches: int = Field(default=32, gt=0)
    """Fetches under way at once, in this process."""

    @field_validator("s3")
    @classmethod
    def _each_is_a_prefix(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Prefix.parse(uri)) for uri in uris)


class SourceError(Exception):
    """Why one picture of a request cannot be had: an error in its place, at the stage `fetch`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Sources:
    """Reads what a request names, where the server and the caller's key both allow it."""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings
        self._prefixes = tuple(map(Prefix.parse, settings.s3))
        self._turns = asyncio.Semaphore(settings.max_fetches)
        self._threads = ThreadPoolExecutor(settings.max_fetches, thread_name_prefix="fetch")

    async def read(self, uri: str, caller: Caller) -> bytes:
        """Return an object's bytes.

        Raises Problem for what is not allowed, which is known before anything is asked anywhere,
        or for a redirect to it; SourceError for what could not be had.
        """
        if is_s3(uri):
            bucket, key = self._located(uri, caller)
            async with self._turns:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._object, bucket, key)
        if not self.settings.https.hosts:
            raise Problem("uri-refused", "only s3:// URIs are read here, or send the bytes")
        async with self._turns:
            return await self._fetched(uri)

    async def of_row(self, uri: str, etag: str) -> bytes:
        """Return the object that a row of an index was made from.

        The caller names a row and not an address; who may see the row is asked before. It is the
        very object that was looked at, by its etag: whatever else lies there now is not read.
        Raises Problem where that is switched off, SourceError for what could not be had.
        """
        if not self.settings.rows:
            raise Problem("forbidden", "this server shows no pictures of rows")
        async with self._turns:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._seen, uri, etag)

    def _seen(self, uri: str, etag: str) -> bytes:
        try:
            return fetch_one(uri, etag, self.settings.max_bytes)
        except FetchError as error:
            reason = "not found" if error.reason == "changed" else error.reason
            raise SourceError(reason, GONE[error.reason]) from None
        except StoreError:
            raise SourceError("unreadable", "the store did not answer: try again later") from None
        except UserError as error:  # ours, not the client's: credentials, a region, a scheme
            log.error("%s", error)
            raise SourceError("unreadable", "the server cannot use that store") from None

    def _located(self, uri: str, caller: Caller) -> tuple[str, str]:
        """One answer for all that is not allowed: what there is, stays unknown."""
        try:
            bucket, key = locate(uri)
        except UserError as error:
            raise Problem("uri-refused", str(error)) from None
        if not caller.may_read(bucket, key, self._prefixes):
            raise Problem("uri-refused", "neither this prefix, nor one above it, is allowed")
        return bucket, key

    def _object(self, bucket: str, key: str) -> bytes:
        """Messages name no credentials: `lake.s3_errors` leaves them out."""
        try:
            return S3Store(bucket).get(key, max_bytes=self.settings.max_bytes)
        except FileNotFoundError:
            raise SourceError("not found", "there is no such object") from None
        except NoBucketError:
            raise SourceError("no bucket", "there is no such bucket") from None
        except ForbiddenError:
            raise SourceError("forbidden", "the store does not let the server read it") from None
        except TooLargeError:
            message = f"has more than {self.settings.max_bytes} bytes"
            raise SourceError("too large", message) from None
        except StoreError:
            raise SourceError("unreadable", "the store did not answer: try again later") from None
        except UserError as error:  # ours, not the client's: credentials, a region
            log.error("%s", error)
            raise SourceError("unreadable", "the server cannot use that store") from None

    def close(self) -> None:
        """Take no more; fetches that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _fetched(self, url: str) -> bytes:
        try:
            return await https.fetch(url, self.settings.https)
        except https.RefusedError as error:
            raise Problem("uri-refused", str(error)) from None
        except https.FetchError as error:
            raise SourceError("unreadable", str(error)) from None
