"""Pictures made on the spot, and the hostile ones of Pillow's own test suite."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Return what writes a picture as bytes of a format, with Pillow's own options."""

    def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format_, **options)
        return buffer.getvalue()

    return encoded


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """Return a picture of smooth shapes, 640 x 480: what DCT scaling is made for."""
    y, x = np.mgrid[0:480, 0:640]
    red = np.sin(x / 37) + np.cos(y / 23)
    green = np.cos(x / 51 + y / 19)
    blue = np.sin(y / 41) * np.cos(x / 29)
    pixels = 127 + 60 * np.stack([red, green, blue], axis=2)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
