"""A bucket as a store, through obstore (Rust), found and signed in to as every AWS tool does it."""

import functools
import io
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from lakesight.errors import UserError
from lakesight.lake import s3_odd_keys
from lakesight.lake.range_file import BUFFER_BYTES, RangeFile
from lakesight.lake.s3_errors import explained
from lakesight.lake.store import ENTRIES, Entry, Store, StoreError, TooLargeError

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store as Bucket

LIST_ROWS = 1000
CREATE_ATTEMPTS = 5
PART_BYTES = 8 << 20
MAX_PARTS = 10_000
"""Of an upload, as S3 allows."""
PARTS_AT_ONCE = 8


class Connection(NamedTuple):
    """The clients of one bucket in this process, and what they found in the environment."""

    bucket: "Bucket"
    boto3: "S3Client"
    session: "boto3.Session"
    endpoint: str
    region: str

    def credentials(self) -> "ReadOnlyCredentials":
        """Return the keys of now; a role's last an hour or so."""
        found = self.session.get_credentials()
        assert found is not None
        return found.get_frozen_credentials()


@dataclass(frozen=True)
class S3Store(Store):
    """Keys as in S3. Endpoint, region and credentials come from the environment or AWS's files.

    An etag is S3's own, without its quotes.
    """

    name: str

    @property
    def connection(self) -> Connection:
        """The clients, made once per process and environment."""
        return connect(self.name)

    def uri(self, key: str) -> str:
        """Return `s3://bucket/key`."""
        return f"s3://{self.name}/{key}"

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return an object's bytes, in one request."""
        if s3_odd_keys.is_odd(key):
            return s3_odd_keys.get(self.connection.boto3, self.name, key, if_match, max_bytes)
        with explained(self.name, key):
            options: Any = {"if_match": f'"{if_match}"'} if if_match else {}
            result = self.connection.bucket.get(key, options=options)
            if max_bytes is not None and result.meta["size"] > max_bytes:
                raise TooLargeError(key)
            return result.bytes().to_bytes()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes `[start, end)` of an object."""
        with explained(self.name, key):
            return self.connection.bucket.get_range(key, start=start, end=end).to_bytes()

    def reader(self, key: str) -> BinaryIO:
        """Return a file that fetches what is read."""
        entry = self.head(key)
        if entry is None:
            raise FileNotFoundError(self.uri(key))
        fetch = functools.partial(self.get_range, key)
        return io.BufferedReader(RangeFile(fetch, entry.size), BUFFER_BYTES)

    def head(self, key: str) -> Entry | None:
        """Return an object's etag, size and time, or None."""
        if s3_odd_keys.is_odd(key):
            return s3_odd_keys.head(self.connection.boto3, self.name, key)
        try:
            with explained(self.name, key):
                found = self.connection.bucket.head(key)
        except FileNotFoundError:
            return None
        return Entry((found["e_tag"] or "").strip('"'), found["size"], found["last_modified"])

    def list(self, prefix: str = "") -> Iterator[pa.Table]:
        """Yield the objects under the folder `prefix`, in order of key, a page at a time.

        obstore stops at a key that it cannot express; boto3, ten times slower, goes on from there.
        """
        from obstore.exceptions import InvalidPathError

        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        last = ""
        try:
            with explained(self.name):
                for page in self._pages(folder):
                    last = page["key"][-1].as_py()
                    yield page
        except InvalidPathError:
            client = self.connection.boto3
            yield from s3_odd_keys.list_after(client, self.name, folder, last)

    def _pages(self, folder: str) -> Iterator[pa.Table]:
        stream = self.connection.bucket.list(folder, chunk_size=LIST_ROWS, return_arrow=True)
        for batch in stream:
            page = pa.table(batch)
            uris = pc.binary_join_element_wise(f"s3://{self.name}", page["path"], "/")
            etags = pc.utf8_trim(page["e_tag"], '"')
            columns = [page["path"], uris, etags, page["size"], page["last_modified"]]
            yield pa.table(columns, names=ENTRIES.names).cast(ENTRIES)

    def put(self, key: str, data: bytes) -> None:
        """Write an object whole, over any other."""
        with explained(self.name, key):
            self.connection.bucket.put(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Upload a file in parts, over any other; it appears whole, after the last of them."""
        part = max(PART_BYTES, -(-path.stat().st_size // MAX_PARTS))
        with explained(self.name, key):
            self.connection.bucket.put(key, path, chunk_size=part, max_concurrency=PARTS_AT_ONCE)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object by one `If-None-Match: *` PUT.

        S3 also refuses when another conditional write is under way that may yet fail, so a refusal
        counts only when there is an object.
        """
        from obstore.exceptions import AlreadyExistsError

        for attempt in range(CREATE_ATTEMPTS):
            try:
                with explained(self.name, key):
                    bucket = self.connection.bucket
                    bucket.put(key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                if self.exists(key):
                    return False
                time.sleep(0.1 * 2**attempt)
            else:
                return True
        raise StoreError(f"s3://{self.name}/{key}: refused as existing, and does not exist")

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """Return Arrow's S3 with the credentials of now, and the bucket."""
        found = self.connection
        scheme, _, host = found.endpoint.partition("://")
        keys = found.credentials()
        system = fs.S3FileSystem(
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            session_token=keys.token,
            endpoint_override=host,
            scheme=scheme,
            region=found.region,
        )
        return system, self.name

    def storage_options(self) -> dict[str, str]:
        """Return Polars' options with the credentials of now: never print or store them."""
        found = self.connection
        keys = found.credentials()
        options = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
            "aws_endpoint_url": found.endpoint,
            "aws_region": found.region,
            "aws_allow_http": str(found.endpoint.startswith("http://")).lower(),
        }
        return {name: value for name, value in options.items() if value}

    def delete(self, key: str) -> None:
        """Remove an object."""
        with explained(self.name, key):
            self.connection.bucket.delete(key)


CONNECTING = threading.Lock()
"""Clients take a tenth of a second to make: a second thread waits for those of the first."""


def connect(bucket: str) -> Connection:
    """Return the clients of a bucket, as the environment says now, the same ones every time."""
    variables = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with CONNECTING:
        return _connect(bucket, os.getpid(), variables)


@functools.lru_cache(maxsize=32)
def _connect(bucket: str, _pid: int, _variables: tuple[tuple[str, str], ...]) -> Connection:
    """boto3 knows profiles, roles and endpoints; obstore asks it for fresh credentials."""
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store as Bucket

    try:
        session = boto3.Session()
        client = session.client("s3")
        if session.get_credentials() is None:
            raise UserError(
                f"no AWS credentials to open s3://{bucket}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY"
            )
        provider = Boto3CredentialProvider(session)
    except BotoCoreError as error:
        raise UserError(f"AWS settings: {error}") from None
    endpoint, region = client.meta.endpoint_url, client.meta.region_name
    store = Bucket(
        bucket,
        endpoint=endpoint,
        region=region,
        credential_provider=provider,
        disable_bulk_delete=True,
        client_options={"allow_http": endpoint.startswith("http://"), "timeout": "120s"},
        retry_config={
            "max_retries": 6,
            "backoff": {"init_backoff": timedelta(milliseconds=100), "base": 2},
            "retry_timeout": timedelta(seconds=60),
        },
    )
    return Connection(store, client, session, endpoint, region)
