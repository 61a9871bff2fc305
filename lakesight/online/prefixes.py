"""What lies under an s3:// prefix, and what only looks so."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from lakesight.errors import UserError
from lakesight.lake.uris import is_s3, split_s3

ODD = re.compile(r"[\x00-\x1f\x7f\\]|(^|/)\.{0,2}(/|$)")
"""Control characters, backslashes, and parts that are empty, `.` or `..`: some clients and
servers read a path with such parts as another one, so a request names none."""
MAX_KEY_BYTES = 1024
"""S3's own limit."""


class Prefix(NamedTuple):
    """A bucket, or a folder in it. `folder` is empty, or has no slash at either end."""

    bucket: str
    folder: str

    @classmethod
    def parse(cls, uri: str) -> "Prefix":
        """Return the prefix that `s3://bucket`, `s3://bucket/` or `s3://bucket/folder/` names.

        Raises UserError for anything else.
        """
        if not is_s3(uri):
            raise UserError(f"expected s3://bucket/ or s3://bucket/prefix/, got {uri!r}")
        bucket, key = split_s3(uri)
        folder = key.removesuffix("/")
        if folder and ODD.search(folder):
            raise UserError(
                f"{uri!r}: a prefix has no empty part, none that is . or .., and no backslash"
            )
        return cls(bucket, folder)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.folder}/" if self.folder else f"s3://{self.bucket}/"

    def has(self, bucket: str, key: str) -> bool:
        """Return whether an object lies under it: `a` holds `a/b`, but not `ab`, and not `a`."""
        return bucket == self.bucket and (not self.folder or key.startswith(f"{self.folder}/"))


def locate(uri: str) -> tuple[str, str]:
    """Return bucket and key of one object that a request may name.

    Raises UserError, which says what is wrong with the URI.
    """
    bucket, key = split_s3(uri)
    if not key or ODD.search(key):
        raise UserError(
            "expected s3://bucket/key of one object, whose key has no empty part, none that is . "
            "or .., and no backslash"
        )
    if len(key.encode(errors="surrogatepass")) > MAX_KEY_BYTES:
        raise UserError(f"a key has at most {MAX_KEY_BYTES} bytes")
    return bucket, key


def is_under(bucket: str, key: str, prefixes: Iterable[Prefix]) -> bool:
    """Return whether any of these prefixes holds the object."""
    return any(prefix.has(bucket, key) for prefix in prefixes)
