"""Views are drawn where `ImageView.place` says, with the pixels that Pillow and OpenCV give."""

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lakesight.media.resize import MAX_CROP_WASTE, draw
from lakesight.media.view import Fit, ImageView, Interpolation

FITS: list[Fit] = ["letterbox", "squash", "crop"]
INTERPOLATIONS: list[Interpolation] = ["area", "bilinear", "bicubic"]
SIZES = [(1, 1), (1, 1000), (1000, 1), (7, 5), (333, 777), (640, 481), (2047, 33), (1, 40000)]


def drawn(pixels: NDArray[np.uint8], view: ImageView) -> NDArray[np.uint8]:
    out = np.full((view.height, view.width, 3), 77, np.uint8)
    draw(pixels, (pixels.shape[1], pixels.shape[0]), view, out)
    return out


def edges(profile: NDArray[np.uint8]) -> tuple[int, int]:
    """Return where a bright stretch begins and ends, by its half height."""
    bright = np.flatnonzero(profile >= (int(profile.max()) + 1) / 2)
    return int(bright[0]), int(bright[-1]) + 1


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_rectangle_is_found_where_the_placement_says(
    size_wh: tuple[int, int], fit: Fit, interpolation: Interpolation
) -> None:
    width, height = size_wh
    x0, y0, x1, y1 = width // 4, height // 4, width - width // 5, height - height // 5
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y0:y1, x0:x1] = 255
    for view_wh in ((97, 64), (128, 128)):
        view = ImageView(
            width=view_wh[0], height=view_wh[1], fit=fit, interpolation=interpolation, pad=0
        )
        seen = drawn(pixels, view)[:, :, 0]
        box = view.place(width, height).to_view(np.array([[x0, y0, x1, y1]]))[0]
        expected = np.clip(box, 0, view_wh * 2)
        left, right = edges(seen.max(axis=0))
        top, bottom = edges(seen.max(axis=1))
        found = np.array((left, top, right, bottom))
        assert np.abs(found - expected).max() <= 1.0, (view_wh, found, expected)


@pytest.mark.parametrize("fit", FITS)
def test_bicubic_is_pillows_own(photo: Image.Image, fit: Fit) -> None:
    view = ImageView(width=224, height=224, fit=fit, interpolation="bicubic")
    size_wh = view.drawn_size(*photo.size)
    reference = np.asarray(photo.resize(size_wh, Image.Resampling.BICUBIC))
    place = view.place(*photo.size)
    seen = drawn(np.asarray(photo), view)
    top, left = max(place.offset_y, 0), max(place.offset_x, 0)
    shown = seen[top : top + size_wh[1], left : left + size_wh[0]]
    cut = reference[max(-place.offset_y, 0) :, max(-place.offset_x, 0) :]
    assert (shown == cut[: shown.shape[0], : shown.shape[1]]).all()


@pytest.mark.parametrize("size_wh", [(640, 480), (333, 501), (501, 333), (227, 225), (90, 1000)])
def test_a_bicubic_crop_is_what_transformers_makes(
    photo: Image.Image, size_wh: tuple[int, int]
) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(do_rescale=False, do_normalize=False)
    picture = photo.resize(size_wh)
    reference = processor(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    view = ImageView(width=224, height=224, fit="crop", interpolation="bicubic")
    seen = drawn(np.asarray(picture), view)
    difference = np.abs(seen.astype(int) - reference.astype(int))
    if max(size_wh) <= MAX_CROP_WASTE * min(size_wh):
        assert difference.max() == 0
    else:  # a ribbon: only what is kept is drawn; each of the two passes may round the other way
        assert difference.max() <= 2


@pytest.mark.parametrize("interpolation", ["area", "bilinear"])
def test_letterbox_is_opencvs_resize_between_borders(
    photo: Image.Image, interpolation: Interpolation
) -> None:
    flag = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}[interpolation]
    view = ImageView(width=320, height=320, interpolation=interpolation, pad=9)
    seen = drawn(np.asarray(photo), view)
    reference = cv2.resize(np.asarray(photo), (320, 240), interpolation=flag)
    assert (seen[40:280] == reference).all()
    assert (seen[:40] == 9).all()
    assert (seen[280:] == 9).all()


def test_every_pixel_of_a_view_is_written() -> None:
    pixels = np.zeros((3, 5, 3), np.uint8)
    for fit, interpolation, side in itertools.product(FITS, INTERPOLATIONS, (1, 2, 31)):
        view = ImageView(width=side, height=31, fit=fit, interpolation=interpolation, pad=0)
        assert (drawn(pixels, view) == 0).all()
