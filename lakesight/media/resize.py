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
    if width * height > MAX_CROP_WASTE * view.width * view.height:
        _draw_box(pixels, (width, height), view, out)
    elif view.fit == "crop":
        scaled = np.empty((height, width, 3), np.uint8)
        _resize(pixels, view, scaled)
        left, top = _cut(width, height, view)
        out[:] = scaled[top : top + view.height, left : left + view.width]
    else:
        _draw_padded(pixels, (width, height), view, out)


def _cut(width: int, height: int, view: ImageView) -> tuple[int, int]:
    """Return the left and top of the part of a drawn picture that a cropped view shows."""
    return -((view.width - width) // 2), -((view.height - height) // 2)


def _draw_padded(pixels: Pixels, drawn_wh: tuple[int, int], view: ImageView, out: Pixels) -> None:
    width, height = drawn_wh
    left, top = (view.width - width) // 2, (view.height - height) // 2
    out[:top] = out[top + height :] = view.pad
    out[:, :left] = out[:, left + width :] = view.pad
    _resize(pixels, view, out[top : top + height, left : left + width])


def _resize(pixels: Pixels, view: ImageView, out: Pixels) -> None:
    """Scale the whole of `pixels` to the whole of `out`."""
    height, width = out.shape[:2]
    if view.interpolation == "bicubic":
        picture = Image.fromarray(pixels)
        out[:] = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
    else:
        cv2.resize(pixels, (width, height), dst=out, interpolation=_CV2[view.interpolation])


def _draw_box(pixels: Pixels, drawn_wh: tuple[int, int], view: ImageView, out: Pixels) -> None:
    """Draw only what a cropped view keeps: a ribbon of 1 x 1000 would be 50 million pixels."""
    drawn = np.array(drawn_wh * 2)
    left, top = _cut(*drawn_wh, view)
    kept = np.array((left, top, left + view.width, top + view.height))
    height, width = pixels.shape[:2]
    box = kept / drawn * (width, height, width, height)
    picture = Image.fromarray(pixels)
    filter_ = _PILLOW[view.interpolation]
    out[:] = np.asarray(picture.resize((view.width, view.height), filter_, tuple(box.tolist())))
