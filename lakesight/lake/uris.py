"""URIs of objects: what is accepted, and the one way in which each object is written."""

import os
import re
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lakesight.errors import UserError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def is_s3(uri: str) -> bool:
    """Return whether `uri` names a bucket or something in it."""
    return uri.startswith("s3://")


def split_s3(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and key; the key is literal, not percent-encoded.

    Raises UserError without repeating the URI when it holds credentials.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if "@" in bucket or ":" in bucket:
        raise UserError(
            "an s3:// URI must not hold credentials: write s3://bucket/key and give the keys by "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a profile"
        )
    if not BUCKET.fullmatch(bucket):
        raise UserError(f"expected s3://bucket/key, got {uri!r}: {bucket!r} is no bucket name")
    return bucket, key


def local_path(uri: str) -> Path:
    """Return the absolute path of a `file:///…` URI or of a plain path.

    Raises UserError for any other scheme.
    """
    scheme = SCHEME.match(uri)
    if scheme is None:
        return Path(uri).expanduser().absolute()
    rest = uri[scheme.end() :]
    if scheme.group(1).lower() != "file":
        raise UserError(
            f"cannot open {scheme.group(1)}:// URIs: give s3://bucket/key, file:///path or a path"
        )
    if not rest.startswith("/"):
        raise UserError(f"expected file:///absolute/path, got {uri!r}")
    return Path(os.fsdecode(unquote_to_bytes(rest)))


def file_uri(path: str | Path) -> str:
    """Return the `file:///…` URI of an absolute path, percent-encoded."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def canonical(uri: str) -> str:
    """Return the one way in which Lakesight writes that object's URI."""
    if is_s3(uri):
        bucket, key = split_s3(uri)
        return f"s3://{bucket}/{key}"
    return file_uri(local_path(uri))
