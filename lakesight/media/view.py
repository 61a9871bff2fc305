"""The pixels that a model asks for, and the way back from them to the original image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Fit = Literal["letterbox", "squash", "crop"]
Interpolation = Literal["area", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Placement:
    """Where the original image lies in a view: `view_px = original_px * scale + offset`."""

    scale_x: float
    scale_y: float
    offset_x: int
    """Pixels of border before the image; below 0 where a crop cuts it; so is `offset_y`."""
    offset_y: int

    def to_view(self, boxes_xyxy: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Map boxes `(N, 4)` from original pixels to view pixels."""
        scale = (self.scale_x, self.scale_y) * 2
        offset = (self.offset_x, self.offset_y) * 2
        return np.asarray(boxes_xyxy, dtype=np.float64) * scale + offset

    def to_original(self, boxes_xyxy: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Map boxes `(N, 4)` from view pixels to original pixels (not clipped)."""
        scale = (self.scale_x, self.scale_y) * 2
        offset = (self.offset_x, self.offset_y) * 2
        return (np.asarray(boxes_xyxy, dtype=np.float64) - offset) / scale


class ImageView(BaseModel):
    """A fixed-size picture, `(height, width, 3)` uint8 RGB, made from an original of any size."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    width: int = Field(gt=0, le=8192)
    height: int = Field(gt=0, le=8192)
    fit: Fit = "letterbox"
    """letterbox: whole image, aspect kept, padded; squash: whole image, stretched; crop: the centre
    that fills the view, aspect kept."""
    interpolation: Interpolation = "bilinear"
    """bilinear and area as in OpenCV; bicubic as in Pillow, antialiased, as CLIP and BLIP want."""
    pad: int = Field(default=114, ge=0, le=255)
    """Grey level of the letterbox's border."""

    def drawn_size(self, width: int, height: int) -> tuple[int, int]:
        """Return `(width, height)` in pixels that an original of that size is scaled to.

        A crop rounds its longer side down and is cut as transformers and torchvision do it.
        """
        if self.fit == "squash":
            return self.width, self.height
        if self.fit == "crop":
            return self._covering_size(width, height)
        ratio = min(self.width / width, self.height / height)
        return max(1, round(width * ratio)), max(1, round(height * ratio))

    def _covering_size(self, width: int, height: int) -> tuple[int, int]:
        if self.width * height >= self.height * width:
            return self.width, height * self.width // width
        return width * self.height // height, self.height

    def place(self, width: int, height: int) -> Placement:
        """Return where an original of that size, in pixels, lies in this view."""
        drawn_width, drawn_height = self.drawn_size(width, height)
        return Placement(
            scale_x=drawn_width / width,
            scale_y=drawn_height / height,
            offset_x=_half(self.width - drawn_width),
            offset_y=_half(self.height - drawn_height),
        )


def _half(difference: int) -> int:
    """Return half of a border (or, below 0, of what is cut), rounded towards 0."""
    return int(difference / 2)
