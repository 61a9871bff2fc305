"""Glob patterns as regular expressions that RE2 (Arrow) and Python read alike."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

MAGIC = re.compile(r"[*?\[]")
TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", re.DOTALL)
SPECIAL_IN_CLASS = re.compile(r"[\\\[\]^&~|]")
IMAGE_SUFFIXES = "jpg jpeg png webp gif bmp tif tiff avif heic heif"
_IMAGE = rf"(?i)\.({'|'.join(IMAGE_SUFFIXES.split())})$"


def has_magic(text: str) -> bool:
    """Return whether `text` holds `*`, `?` or `[`."""
    return MAGIC.search(text) is not None


def to_regex(pattern: str) -> str:
    """Translate one glob: `*` and `?` stay within a folder, `**/` is any number of folders.

    A pattern without a slash is looked for at any depth, as in .gitignore.
    """
    anywhere = "" if "/" in pattern else r"(?s:.*/)?"
    return f"^{anywhere}{''.join(map(_token, TOKEN.findall(pattern.removeprefix('/'))))}$"


def _token(token: str) -> str:
    if token == "**/":  # noqa: S105 - a token of the pattern, not a secret
        return r"(?s:.*/)?"
    if token in {"**", "*", "?"}:
        return {"**": r"(?s:.*)", "*": r"[^/]*", "?": r"[^/]"}[token]
    if token.startswith("[") and len(token) > 2:
        negated = token[1] == "!"
        body = SPECIAL_IN_CLASS.sub(r"\\\g<0>", token[2 if negated else 1 : -1])
        return f"[^{body}]" if negated else f"[{body}]"
    return re.escape(token)


def matches(keys: pa.ChunkedArray, patterns: Sequence[str]) -> pa.ChunkedArray:
    """Return a mask of the keys that match any of the patterns."""
    return pc.match_substring_regex(keys, "|".join(map(to_regex, patterns)))


def is_image(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a mask of the keys whose suffix is an image's."""
    return pc.match_substring_regex(keys, _IMAGE)
