"""From upright pixels of any size to a view, drawn straight into the memory it is wanted in."""

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from lakesight.media.view import ImageView

Pixels = npt.NDArray[np.uint8]

MAX_CROP_WASTE = 4
"""A cropped view is scaled whole, then cut, unless that draws this many times what is kept."""

_CV2 = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}
_PILLOW = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def draw(pixels: Pixels, size_wh: tuple[int, int], view: ImageView, out: Pixels) -> None:
    """Draw `pixels` (H, W, 3) into `out` (view.height, view.width, 3).

    `size_wh` is the size of the original, which `pixels` may show at a reduced scale.
    """
    width, height = view.drawn_size(*size_wh)
    if view.fit != "crop":
        _draw_padded(pixels, size_wh, view, out)
    elif width * height <= MAX_CROP_WASTE * view.width * view.height:
        _draw_cut(pixels, size_wh, view, out)
    else:
        _draw_box(pixels, size_wh, view, out)


def _draw_padded(pixels: Pixels, size_wh: tuple[int, int], view: ImageView, out: Pixels) -> None:
    width, height = view.drawn_size(*size_wh)
    place = view.place(*size_wh)
    rows = slice(place.offset_y, place.offset_y + height)
    columns = slice(place.offset_x, place.offset_x + width)
    out[: rows.start] = out[rows.stop :] = view.pad
    out[:, : columns.start] = out[:, columns.stop :] = view.pad
    _resize(pixels, view, out[rows, columns])


def _draw_cut(pixels: Pixels, size_wh: tuple[int, int], view: ImageView, out: Pixels) -> None:
    """Draw the whole picture, then keep the middle: what transformers' processors do."""
    width, height = view.drawn_size(*size_wh)
    place = view.place(*size_wh)
    scaled = np.empty((height, width, 3), np.uint8)
    _resize(pixels, view, scaled)
    out[:] = scaled[-place.offset_y :, -place.offset_x :][: view.height, : view.width]


def _resize(pixels: Pixels, view: ImageView, out: Pixels) -> None:
    """Scale the whole of `pixels` to the whole of `out`."""
    height, width = out.shape[:2]
    if view.interpolation == "bicubic":
        picture = Image.fromarray(pixels)
        out[:] = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
    else:
        cv2.resize(pixels, (width, height), dst=out, interpolation=_CV2[view.interpolation])


def _draw_box(pixels: Pixels, size_wh: tuple[int, int], view: ImageView, out: Pixels) -> None:
    """Draw only what a crop keeps: the whole of a ribbon of 1 x 1000 would be 50 million pixels."""
    place = view.place(*size_wh)
    kept = np.array((0, 0, view.width, view.height)) - (place.offset_x, place.offset_y) * 2
    box = kept / (view.drawn_size(*size_wh) * 2) * (pixels.shape[1::-1] * 2)
    picture = Image.fromarray(pixels)
    filter_ = _PILLOW[view.interpolation]
    out[:] = np.asarray(picture.resize((view.width, view.height), filter_, tuple(box.tolist())))
