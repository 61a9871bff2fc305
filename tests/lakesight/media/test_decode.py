"""What decoding promises beyond colours and orientation: reduction, limits, errors."""

import io
import pickle
import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from lakesight.media.decode import MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.view import Fit, ImageView, Interpolation

Encode = Callable[..., bytes]


def error_of(data: bytes, limits: Limits | None = None) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decode(data, [ImageView(width=32, height=32)], limits or Limits())
    return caught.value


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["letterbox", "squash", "crop"])
@pytest.mark.parametrize("side", [60, 100, 200])
def test_a_reduced_jpeg_looks_like_the_whole_one(
    encode: Encode, photo: Image.Image, fit: Fit, interpolation: Interpolation, side: int
) -> None:
    data = encode(photo, "jpeg", quality=90)
    view = ImageView(width=side, height=side, fit=fit, interpolation=interpolation)
    whole = encode(Image.open(io.BytesIO(data)), "png")  # never reduced
    seen = decode(data, [view], Limits()).views[0].astype(int)
    expected = decode(whole, [view], Limits()).views[0]
    assert np.abs(seen - expected).mean() < 1.0
    assert np.abs(seen - expected).max() <= 16


@pytest.mark.parametrize("size_wh", [(1001, 777), (1023, 65), (513, 2049)])
def test_a_reduced_jpeg_keeps_its_geometry(encode: Encode, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    x0, y0, x1, y1 = width // 4, height // 4, width - width // 5, height - height // 5
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y0:y1, x0:x1] = 255
    view = ImageView(width=100, height=100, fit="squash")
    seen = decode(encode(Image.fromarray(pixels), "jpeg"), [view], Limits()).views[0][:, :, 0]
    columns = np.flatnonzero(seen[50] >= 128)
    rows = np.flatnonzero(seen[:, 50] >= 128)
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    expected = view.place(width, height).to_view(np.array([[x0, y0, x1, y1]]))[0]
    assert np.abs(found - expected).max() <= 1.5  # 1 of rounding, and the last block's part


def test_several_views_are_those_of_one_picture(encode: Encode, photo: Image.Image) -> None:
    data = encode(photo, "jpeg")
    views = [ImageView(width=640, height=640), ImageView(width=33, height=97, fit="crop")]
    decoded = decode(data, views, Limits())
    assert [view.shape for view in decoded.views] == [(640, 640, 3), (97, 33, 3)]
    assert decoded.format == "jpeg"
    alone = decode(encode(photo, "png"), views[1:], Limits())
    assert np.abs(decoded.views[1].astype(int) - alone.views[0]).mean() < 3


def test_views_are_drawn_into_the_memory_given(encode: Encode, photo: Image.Image) -> None:
    view = ImageView(width=64, height=64)
    out = np.full((64, 64, 3), 7, np.uint8)
    decoded = decode(encode(photo, "jpeg"), [view], Limits(), [out])
    assert decoded.views[0] is out
    assert (out == decode(encode(photo, "jpeg"), [view], Limits()).views[0]).all()


def test_empty_and_unknown_bytes() -> None:
    assert error_of(b"").type == "empty"
    assert error_of(b"hello, world").type == "unsupported format"
    assert error_of(b"<svg/>").type == "unsupported format"


def test_limits_on_bytes_and_pixels(encode: Encode) -> None:
    data = encode(Image.new("RGB", (100, 100)), "png")
    assert error_of(data, Limits(max_bytes=len(data) - 1)).type == "too many bytes"
    error = error_of(data, Limits(max_pixels=9_999))
    assert error.type == "too many pixels"
    assert "100 x 100" in error.message
    assert decode(data, [], Limits(max_bytes=len(data), max_pixels=10_000)).width == 100


def test_a_bomb_is_refused_by_its_header(encode: Encode) -> None:
    """A PNG header that claims 30000 x 30000, on few bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = encode(Image.new("RGB", (1, 1)), "png")
    assert error_of(data[:8] + chunk + data[33:]).type == "too many pixels"


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"])
def test_a_truncated_file_is_an_error_and_not_half_grey(
    encode: Encode, photo: Image.Image, format_: str
) -> None:
    data = encode(photo, format_)
    for share in (0.05, 0.5, 0.9):
        assert error_of(data[: int(len(data) * share)]).type in ("truncated", "undecodable")


def test_garbage_after_a_good_header_is_an_error(encode: Encode, photo: Image.Image) -> None:
    data = encode(photo, "png")
    assert error_of(data[:200] + bytes(len(data) - 200)).type in ("truncated", "undecodable")


def test_a_flaw_that_libjpeg_mends_is_read(encode: Encode, photo: Image.Image) -> None:
    """Stray bytes between two markers: simplejpeg refuses them, Pillow reads on."""
    data = encode(photo, "jpeg")
    at = data.index(b"\xff\xdb")
    view = ImageView(width=640, height=480)
    seen = decode(data[:at] + b"\x00\x01\x02" + data[at:], [view], Limits()).views[0]
    assert (seen == decode(data, [view], Limits()).views[0]).all()


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = error_of(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    assert error.type == "unsupported format"
    assert "pip install 'lakesight[heic]'" in error.message


def test_an_error_can_be_pickled() -> None:
    error = error_of(b"")
    again = pickle.loads(pickle.dumps(error))
    assert (again.type, again.message, str(again)) == (error.type, error.message, str(error))


def test_a_view_does_not_depend_on_what_else_is_asked_for(
    encode: Encode, photo: Image.Image
) -> None:
    data = encode(photo.resize((1600, 1200)), "jpeg", quality=90)
    views = [
        ImageView(width=100, height=100, fit="crop"),
        ImageView(width=1024, height=1024),
        ImageView(width=224, height=224, fit="crop", interpolation="bicubic"),
        ImageView(width=300, height=300, fit="squash"),
    ]
    together = decode(data, views, Limits()).views
    for view, pixels in zip(views, together, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, [view], Limits()).views[0])
