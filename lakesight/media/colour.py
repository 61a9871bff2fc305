"""Every colour model that a file may have, to 8-bit RGB. The policy is told in docs/media.md."""

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

BACKGROUND = (255, 255, 255, 255)
"""What shows through transparent pixels: white, as on a page."""


def to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return the pixels of a picture of any mode as `(height, width, 3)` uint8."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I;16"):
        return _grey(_high_bits(image))
    if image.mode in ("I", "F"):
        return _grey(_stretched(np.asarray(image, dtype=np.float64)))
    if image.has_transparency_data:
        return np.asarray(_over_background(image))
    return np.asarray(image.convert("RGB"))


def _high_bits(image: Image.Image) -> npt.NDArray[np.uint16]:
    """Return the upper 8 of the 9 to 16 bits of a grey picture, as Pillow does with 16-bit RGB."""
    values = np.asarray(image).astype(np.uint16)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    num_bits: int = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    grey = values >> np.uint16(num_bits - 8)
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = BACKGROUND[0]
    return grey


def _stretched(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map the smallest finite value to 0 and the largest to 255: such files define no white."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    low, high = values[finite].min(), values[finite].max()
    clean = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.interp(clean, (low, high), (0.0, 255.0))


def _grey(values: npt.NDArray[np.number]) -> npt.NDArray[np.uint8]:
    """Return `(H, W)` values of 0 to 255 as `(H, W, 3)`."""
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


def _over_background(image: Image.Image) -> Image.Image:
    picture = image.convert("RGBA")
    page = Image.new("RGBA", picture.size, BACKGROUND)
    return Image.alpha_composite(page, picture).convert("RGB")
