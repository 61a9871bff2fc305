"""From outlines to pixels: how much of each pixel a shape covers, and the shape painted in."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lakesight.masks import Mask
from lakesight.scenes.figure import Figure
from lakesight.scenes.paint import Pixels, accent_share

SUBPIXELS, SUBPIXELS_IF_LARGE = 8, 4
"""Each pixel is drawn as so many by so many, and averaged."""

LARGE_PX = 256

FRACTION_BITS = 8
"""OpenCV takes corners as integers with so many bits behind the point."""

Instances = npt.NDArray[np.uint8]
"""`(H, W)`: the id of the object on top of each pixel, 0 where none is."""


@dataclass(frozen=True, eq=False)
class Stamp:
    """The pixels that a whole shape covers, also where it reaches over the picture's border."""

    x: int
    """Column of the picture in which the stamp begins; below 0 left of the picture."""
    y: int
    coverage: npt.NDArray[np.uint8]
    """`(h, w)`: 0 not covered, 255 covered."""

    @property
    def solid(self) -> Mask:
        """The pixels that are the shape's: those that it covers by half or more."""
        return self.coverage >= 128

    def clipped(self, height: int, width: int) -> "Stamp":
        """Return the part inside a picture, which may be empty."""
        h, w = self.coverage.shape
        left, top = min(max(-self.x, 0), w), min(max(-self.y, 0), h)
        right, bottom = max(min(w, width - self.x), left), max(min(h, height - self.y), top)
        return Stamp(self.x + left, self.y + top, self.coverage[top:bottom, left:right])

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture; of a clipped stamp only."""
        h, w = self.coverage.shape
        y, x = max(self.y, 0), max(self.x, 0)
        return slice(y, y + h), slice(x, x + w)


def rasterise(figure: Figure, margin_px: int = 1) -> Stamp:
    """Return what a shape covers, with so many empty pixels around it."""
    rings = figure.rings()
    low = np.floor(rings[0].min(axis=0)).astype(int) - margin_px
    high = np.ceil(rings[0].max(axis=0)).astype(int) + margin_px
    width, height = (high - low).tolist()
    zoom = SUBPIXELS if max(width, height) <= LARGE_PX else SUBPIXELS_IF_LARGE
    fine = np.zeros((height * zoom, width * zoom), dtype=np.uint8)
    # OpenCV counts from the middle of the first pixel
    rings = tuple(((ring - low) * zoom - 0.5) * (1 << FRACTION_BITS) for ring in rings)
    corners = [ring.round().astype(np.int32) for ring in rings]
    cv2.fillPoly(fine, corners, 255, shift=FRACTION_BITS)
    # it fills every pixel that the outline touches: on average half of one is inside
    cv2.polylines(fine, corners, isClosed=True, color=128, shift=FRACTION_BITS)
    coverage = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return Stamp(int(low[0]), int(low[1]), np.asarray(coverage, dtype=np.uint8))


def paint_over(picture: Pixels, figure: Figure, stamp: Stamp) -> None:
    """Paint a shape into a picture `(H, W, 3)`, over what is there."""
    part = stamp.clipped(*picture.shape[:2])
    rows, columns = part.window
    share = (part.coverage.astype(np.float32) / 255)[..., None]
    below = picture[rows, columns]
    picture[rows, columns] = below + share * (_colours(figure, part) - below)


def _colours(figure: Figure, stamp: Stamp) -> Pixels:
    """Return the colour `(h, w, 3)` that the shape has at each pixel of a stamp."""
    rgb = np.array(figure.paint.rgb, dtype=np.float32)
    if figure.paint.texture == "plain":
        return np.broadcast_to(rgb, (*stamp.coverage.shape, 3))
    height, width = stamp.coverage.shape
    x = np.arange(width, dtype=np.float32) + np.float32(stamp.x + 0.5 - figure.x)
    y = (np.arange(height, dtype=np.float32) + np.float32(stamp.y + 0.5 - figure.y))[:, None]
    cos, sin = np.float32(math.cos(figure.angle)), np.float32(math.sin(figure.angle))
    share = accent_share(figure.paint, x * cos + y * sin, y * cos - x * sin)[..., None]
    return rgb + share * (np.array(figure.paint.accent, dtype=np.float32) - rgb)
