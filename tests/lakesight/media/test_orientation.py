"""All eight EXIF orientations, in every format that can carry one."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import ExifTags, Image

from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView

Encode = Callable[..., bytes]

STORED = {  # how an upright picture lies in the file: EXIF 2.32, figure of tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
COLOURS = {(0, 0): (220, 30, 40), (0, 1): (30, 200, 60), (1, 0): (20, 60, 230), (1, 1): (240,) * 3}


def upright(width: int, height: int) -> Image.Image:
    """Return a picture whose four quarters have four colours."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    for place, colour in COLOURS.items():
        pixels[place] = colour
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def stored(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turn = STORED.get(orientation)
    return (picture if turn is None else picture.transpose(turn)), exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "tiff", "avif", "heif"])
def test_pictures_come_upright(encode: Encode, format_: str, orientation: int) -> None:
    if format_ == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture, exif = stored(upright(160, 96), orientation)
    data = encode(picture, format_, exif=exif.tobytes())  # pillow-heif ignores an Exif object
    for view in (ImageView(width=160, height=96), ImageView(width=40, height=24)):
        decoded = decode(data, [view], Limits())
        assert (decoded.width, decoded.height) == (160, 96)
        rows, columns = view.height // 4, view.width // 4
        for (row, column), colour in COLOURS.items():
            seen = decoded.views[0][rows * (1 + 2 * row), columns * (1 + 2 * column)]
            assert np.abs(seen.astype(int) - colour).max() <= 12, (row, column)


def test_a_view_of_a_turned_picture_is_that_of_the_upright_one(
    encode: Encode, photo: Image.Image
) -> None:
    view = ImageView(width=100, height=100, fit="crop", interpolation="bicubic")
    expected = decode(encode(photo, "png"), [view], Limits()).views[0]
    for orientation in range(1, 9):
        picture, exif = stored(photo, orientation)
        seen = decode(encode(picture, "png", exif=exif), [view], Limits()).views[0]
        assert (seen == expected).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_means_upright(encode: Encode, orientation: int) -> None:
    picture, exif = stored(upright(16, 8), orientation)
    decoded = decode(encode(picture, "jpeg", exif=exif), [ImageView(width=16, height=8)], Limits())
    assert (decoded.width, decoded.height) == (16, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_means_upright(encode: Encode) -> None:
    data = encode(upright(16, 8), "jpeg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode(data, [ImageView(width=16, height=8)], Limits()).width == 16
