"""EXIF orientation: how the camera was held (EXIF 2.32, tag 0x0112)."""

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

UPRIGHT = 1


def read_orientation(image: Image.Image) -> int:
    """Return 1 to 8; 1 where the picture says nothing or nonsense."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises many types on hostile EXIF; the pixels are still good
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Return whether width and height change places."""
    return orientation >= 5


def turn_upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Return `(H, W, 3)` stored pixels as they are to be seen."""
    if orientation in _ROTATIONS:
        return _array(cv2.rotate(pixels, _ROTATIONS[orientation]))
    if orientation in _FLIPS:
        return _array(cv2.flip(pixels, _FLIPS[orientation]))
    if orientation == 5:
        return _array(cv2.transpose(pixels))
    if orientation == 7:
        return _array(cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180))
    return pixels


def _array(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return np.asarray(pixels, dtype=np.uint8)


_ROTATIONS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {2: 1, 4: 0}
