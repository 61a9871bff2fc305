"""Every colour model ends as the RGB that the documented policy says."""

import io
import itertools
import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView

Encode = Callable[..., bytes]
Pixels = NDArray[np.uint8]


def rgb(data: bytes) -> Pixels:
    """Return a picture's own pixels: a view of its own size draws them as they are."""
    width, height = Image.open(io.BytesIO(data)).size
    view = ImageView(width=width, height=height, fit="squash")
    decoded = decode(data, [view], Limits())
    assert (decoded.width, decoded.height) == (width, height)
    return decoded.views[0]


def grey_ramp() -> NDArray[np.uint16]:
    return np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        *itertools.product(("png", "tiff", "bmp"), ("1", "L", "P", "RGB")),
        ("gif", "L"),
        ("gif", "P"),
    ],
)
def test_opaque_lossless_pictures_are_exact(
    encode: Encode, photo: Image.Image, format_: str, mode: str
) -> None:
    picture = photo.resize((61, 47)).convert(mode)
    assert (rgb(encode(picture, format_)) == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize("format_", ["png", "tiff", "webp"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_over_white(
    encode: Encode, photo: Image.Image, format_: str, mode: str
) -> None:
    picture = photo.resize((64, 48)).convert(mode)
    alpha = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    picture.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if format_ == "webp" else {}
    colour = np.asarray(picture.convert("RGBA"))[:, :, :3].astype(float)
    weight = alpha[:, :, None] / 255
    expected = colour * weight + 255 * (1 - weight)
    assert np.abs(rgb(encode(picture, format_, **options)) - expected).max() <= 1


@pytest.mark.parametrize("format_", ["png", "gif"])
def test_a_transparent_palette_entry_is_white(encode: Encode, format_: str) -> None:
    picture = Image.new("P", (4, 2), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    seen = rgb(encode(picture, format_, transparency=0))
    assert seen[0, 1].tolist() == [200, 100, 50]
    assert seen[1].tolist() == [[255, 255, 255]] * 4


def test_a_transparent_colour_is_white(encode: Encode) -> None:
    picture = Image.new("RGB", (2, 1), (1, 2, 3))
    picture.putpixel((0, 0), (9, 8, 7))
    seen = rgb(encode(picture, "png", transparency=(9, 8, 7)))
    assert seen[0].tolist() == [[255, 255, 255], [1, 2, 3]]


@pytest.mark.parametrize("format_", [".png", ".tiff"])
def test_sixteen_bits_keep_their_upper_eight(format_: str) -> None:
    grey = grey_ramp()
    upper = (grey >> 8).astype(np.uint8)
    written, data = cv2.imencode(format_, grey)  # OpenCV writes what Pillow cannot: 16-bit RGB
    assert written
    assert (rgb(data.tobytes()) == upper[:, :, None]).all()
    colour = np.stack([grey, grey[::-1], grey.T], axis=2)
    written, data = cv2.imencode(format_, colour[:, :, ::-1])
    assert written
    assert (rgb(data.tobytes()) == (colour >> 8).astype(np.uint8)).all()


def test_big_endian_tiff(encode: Encode) -> None:
    grey = grey_ramp()
    picture = Image.frombytes("I;16B", grey.shape, grey.astype(">u2").tobytes())
    data = encode(picture, "tiff")
    assert data.startswith(b"MM")
    assert (rgb(data) == (grey >> 8).astype(np.uint8)[:, :, None]).all()


def test_a_twelve_bit_tiff_is_not_dark() -> None:
    """Twelve packed bits, written by hand: 0x000, 0x800, 0xfff, 0x0ff."""
    pixels = bytes.fromhex("000800fff0ff")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[258], tags[259] = 4, 1, 12, 1  # width, height, bits, compression
    tags[262], tags[277], tags[278], tags[279] = 1, 1, 1, len(pixels)
    tags[273] = 0  # Pillow adds where the directory ends
    data = b"II*\x00" + struct.pack("<I", 8) + tags.tobytes(8) + pixels
    assert rgb(data)[0, :, 0].tolist() == [0x00, 0x80, 0xFF, 0x0F]


def test_floats_and_long_integers_are_stretched(encode: Encode) -> None:
    values = np.array([[-1.0, 0.0, 1.0, np.nan]], np.float32)
    assert rgb(encode(Image.fromarray(values), "tiff"))[0, :, 0].tolist() == [0, 127, 255, 0]
    values = np.array([[1000, 3000, 2000]], np.int32)
    assert rgb(encode(Image.fromarray(values), "tiff"))[0, :, 0].tolist() == [0, 255, 127]
    flat = np.full((2, 2), 5.0, np.float32)
    assert (rgb(encode(Image.fromarray(flat), "tiff")) == 255).all()


def test_cmyk_tiff(encode: Encode, photo: Image.Image) -> None:
    picture = photo.resize((32, 24)).convert("CMYK")
    assert (rgb(encode(picture, "tiff")) == np.asarray(picture.convert("RGB"))).all()


def test_cmyk_jpeg_is_not_inverted(encode: Encode, photo: Image.Image) -> None:
    """Adobe stores CMYK inverted; OpenCV, which converts by itself, is the outside reference."""
    data = encode(photo.convert("CMYK"), "jpeg", quality=95)
    assert simplejpeg.decode_jpeg_header(data)[2] == "CMYK"
    seen = rgb(data)
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert reference is not None
    assert np.abs(seen.astype(int) - reference[:, :, ::-1]).mean() < 2
    assert np.abs(seen.astype(int) - np.asarray(photo)).mean() < 3


def test_cmyk_jpeg_is_reduced_too(encode: Encode, photo: Image.Image) -> None:
    data = encode(photo.convert("CMYK"), "jpeg", quality=95)
    seen = decode(data, [ImageView(width=80, height=60)], Limits())
    assert (seen.width, seen.height) == (640, 480)
    reference = np.asarray(photo.reduce(8)).astype(int)
    assert np.abs(seen.views[0] - reference).mean() < 3


@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_pictures_are_what_pillow_reads(
    encode: Encode, photo: Image.Image, format_: str, mode: str
) -> None:
    data = encode(photo.convert(mode), format_)
    reference = Image.open(io.BytesIO(data)).convert("RGB")
    assert (rgb(data) == np.asarray(reference)).all()


@pytest.mark.parametrize("format_", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_is_taken(encode: Encode, format_: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("#204060", "#f0e0d0", "#000000")]
    options = {"lossless": True} if format_ == "webp" else {}
    data = encode(frames[0], format_, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert (rgb(data) == (0x20, 0x40, 0x60)).all()
