"""One encoded picture of any kind to the views that models ask for.

This runs in the calling process, so a hostile file may take it down: for pictures from elsewhere
use `lakesight.media.pool.DecodePool`, whose children run this.
"""

import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from lakesight.media.colour import to_rgb
from lakesight.media.errors import MediaError
from lakesight.media.limits import Limits
from lakesight.media.orientation import read_orientation, swaps_sides, turn_upright
from lakesight.media.resize import draw
from lakesight.media.sniff import Format, sniff
from lakesight.media.view import ImageView

__all__ = ["Decoded", "MediaError", "decode"]

Pixels = npt.NDArray[np.uint8]

DCT_SCALES = (8, 4, 2)
"""Reductions that libjpeg-turbo has fast code for; 3/8, 5/8 … cost more than a full decode."""

BICUBIC_MARGIN = 2
"""A bicubic view is drawn from at least this many times its pixels a side, so that the antialiased
result looks the same as from the original."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one picture gave."""

    width: int
    """Of the original in pixels, after EXIF rotation; so is `height`."""
    height: int
    format: Format
    views: tuple[Pixels, ...]
    """In the order asked for, each `(view.height, view.width, 3)` uint8 RGB, contiguous."""


def decode(
    data: bytes,
    views: Sequence[ImageView],
    limits: Limits,
    out: Sequence[Pixels] | None = None,
) -> Decoded:
    """Return the views of one encoded picture, drawn into `out` where it is given.

    A view's pixels depend on the bytes and on that view alone, whatever else is asked for: so what
    a model sees in a job of many is what it sees alone. `limits.max_seconds` and `max_memory_bytes`
    only hold in a `DecodePool`. Raises `MediaError`.
    """
    format_ = _supported_format(data, limits)
    drawn = tuple(out) if out is not None else tuple(map(_blank, views))
    try:
        size_wh = _draw_all(data, format_, list(zip(views, drawn, strict=True)), limits)
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError("out of memory", "the picture does not fit into the limit") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("too many pixels", str(error)) from error
    except Exception as error:  # Pillow raises nearly every type on hostile bytes
        raise _explain(error, format_) from error
    return Decoded(*size_wh, format_, drawn)


def _blank(view: ImageView) -> Pixels:
    return np.empty((view.height, view.width, 3), np.uint8)


def _draw_all(
    data: bytes, format_: Format, targets: Sequence[tuple[ImageView, Pixels]], limits: Limits
) -> tuple[int, int]:
    """Draw every view; return the size `(width, height)` of the original, upright."""
    with _opened(data, format_) as image:
        _check_size(image, limits)
        if format_ != "jpeg":
            pixels = to_rgb(image)
            pixels = turn_upright(pixels, read_orientation(image))  # PNG may carry it at its end
            size_wh = (pixels.shape[1], pixels.shape[0])
            reductions = {1: pixels}
        else:
            orientation = read_orientation(image)
            size_wh = image.size[::-1] if swaps_sides(orientation) else image.size
            needed = {_reduction(size_wh, view) for view, _ in targets} or {1}
            reductions = {
                each: turn_upright(_jpeg_pixels(data, each), orientation) for each in needed
            }
    for view, target in targets:
        reduction = _reduction(size_wh, view) if format_ == "jpeg" else 1
        draw(reductions[reduction], size_wh, view, target)
    return size_wh


def _opened(data: bytes, format_: Format) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=[format_.upper()])


def _supported_format(data: bytes, limits: Limits) -> Format:
    if not data:
        raise MediaError("empty", "the object has no bytes")
    if len(data) > limits.max_bytes:
        raise MediaError("too many bytes", f"{len(data):,} bytes, limit {limits.max_bytes:,}")
    format_ = sniff(data)
    if format_ is None:
        raise MediaError("unsupported format", f"not one of {', '.join(get_args(Format))}")
    if format_ == "heif":
        _enable_heif()
    return format_


def _enable_heif() -> None:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        how = "to read HEIC pictures: pip install 'lakesight[heic]'"
        raise MediaError("unsupported format", how) from error


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        text = f"{width} x {height} = {width * height:,} pixels, limit {limits.max_pixels:,}"
        raise MediaError("too many pixels", text)


def _reduction(size_wh: tuple[int, int], view: ImageView) -> int:
    """Return the largest reduction that still covers what the view draws."""
    return next((each for each in DCT_SCALES if _covers(size_wh, each, view)), 1)


def _covers(size_wh: tuple[int, int], reduction: int, view: ImageView) -> bool:
    margin = BICUBIC_MARGIN if view.interpolation == "bicubic" else 1
    drawn_wh = view.drawn_size(*size_wh)
    pairs = zip(size_wh, drawn_wh, strict=True)
    return all(-(-side // reduction) >= margin * drawn for side, drawn in pairs)


def _jpeg_pixels(data: bytes, reduction: int) -> Pixels:
    """Return stored pixels at a reduced scale; Pillow reads what simplejpeg refuses.

    That is CMYK, and files with flaws that libjpeg warns of and mends.
    """
    with _opened(data, "jpeg") as image:
        if image.mode in ("L", "RGB"):
            try:
                width, height = (-(-side // reduction) for side in image.size)
                pixels = simplejpeg.decode_jpeg(data, "RGB", min_width=width, min_height=height)
                return np.asarray(pixels)
            except ValueError:
                pass
        image.draft(None, (image.width // reduction or 1, image.height // reduction or 1))
        return to_rgb(image)


def _explain(error: Exception, format_: Format) -> MediaError:
    if isinstance(error, UnidentifiedImageError):
        return MediaError("undecodable", f"begins as {format_}, but its header is broken")
    text = f"{error}" or type(error).__name__
    first_line = text.splitlines()[0][:300]
    if "memory" in text.lower():
        return MediaError("out of memory", first_line)
    if "truncat" in text.lower():
        return MediaError("truncated", first_line)
    return MediaError("undecodable", first_line)
