"""Keys that S3 allows and obstore cannot express, through boto3.

They hold control characters, empty parts (`a//b`), or parts that are `.` or `..`.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from lakesight.lake.s3_errors import meaning
from lakesight.lake.store import ENTRIES, Entry, StoreError, TooLargeError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ODD = re.compile(r"[\x00-\x1f\x7f]|(^|/)\.{0,2}(/|$)")


def is_odd(key: str) -> bool:
    """Return whether only boto3 can address `key`."""
    return ODD.search(key) is not None


def get(
    client: "S3Client", bucket: str, key: str, if_match: str | None, max_bytes: int | None
) -> bytes:
    """As `Store.get`."""
    condition = {"IfMatch": f'"{if_match}"'} if if_match else {}
    with _explained(bucket, key):
        found = client.get_object(Bucket=bucket, Key=key, **condition)  # type: ignore[arg-type]
        if max_bytes is not None and found["ContentLength"] > max_bytes:
            raise TooLargeError(key)
        return found["Body"].read()


def head(client: "S3Client", bucket: str, key: str) -> Entry | None:
    """As `Store.head`."""
    try:
        with _explained(bucket, key):
            found = client.head_object(Bucket=bucket, Key=key)
    except FileNotFoundError:
        return None
    return Entry(found["ETag"].strip('"'), found["ContentLength"], found["LastModified"])


def list_after(client: "S3Client", bucket: str, prefix: str, last: str) -> Iterator[pa.Table]:
    """Yield the objects whose keys begin with `prefix` and sort after `last`, as `ENTRIES`."""
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, StartAfter=last
    )
    with _explained(bucket, None):
        for page in pages:
            objects = page.get("Contents", [])
            keys = [item["Key"] for item in objects]
            columns = [
                keys,
                [f"s3://{bucket}/{key}" for key in keys],
                [item["ETag"].strip('"') for item in objects],
                [item["Size"] for item in objects],
                [item["LastModified"] for item in objects],
            ]
            yield pa.table(dict(zip(ENTRIES.names, columns, strict=True)), schema=ENTRIES)


@contextlib.contextmanager
def _explained(bucket: str, key: str | None) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"]["Code"]
        raise meaning(bucket, key, code, status, "ClientError") from None
    except BotoCoreError as error:
        raise StoreError(f"s3://{bucket}: {type(error).__name__}") from None
