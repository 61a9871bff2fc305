"""Formats by their first bytes."""

from collections.abc import Callable

import pytest
from PIL import Image

from lakesight.media.sniff import sniff


@pytest.mark.parametrize("format_", ["jpeg", "png", "gif", "bmp", "webp", "tiff", "avif"])
def test_what_pillow_writes_is_recognised(encode: Callable[..., bytes], format_: str) -> None:
    assert sniff(encode(Image.new("RGB", (16, 16)), format_)) == format_


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"%PDF-1.7", None),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "heif"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "avif"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "heif"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42", None),
        (b"\xff\xff\xff\xffftypisom", None),
        (b"II+\x00\x08\x00\x00\x00", "tiff"),
    ],
)
def test_first_bytes(data: bytes, expected: str | None) -> None:
    assert sniff(data) == expected
