"""Pictures of any size to what a model says of them: for a notebook, one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from lakesight.media.colour import to_rgb
from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.media.orientation import read_orientation, turn_upright
from lakesight.media.resize import draw
from lakesight.media.view import ImageView
from lakesight.models.base import Image as View

Picture = str | Path | Image.Image | npt.NDArray[np.uint8]
"""A file, a Pillow image, or `(height, width, 3)` uint8 RGB of any size."""


class Looking(Protocol):
    """What looking at pictures needs of a model: see `base.Model`."""

    view: ImageView
    output: pa.Field

    def predict(self, views: Sequence[View], rows: pa.Table) -> pa.Array:
        """Return one value of type `output.type` per view."""
        ...


def look(model: Looking, pictures: Sequence[Picture], **columns: pa.Array) -> pa.Array:
    """Return one value of type `model.output.type` per picture.

    `columns` are what earlier models gave: `look(pose, pictures, detections=found)`.
    """
    drawn = [_draw(model, picture) for picture in pictures]
    sizes = {
        "width": pa.array([width for _, width, _ in drawn], pa.int32()),
        "height": pa.array([height for _, _, height in drawn], pa.int32()),
    }
    return model.predict([view for view, _, _ in drawn], pa.table({**sizes, **columns}))


def _draw(model: Looking, picture: Picture) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Return a picture's view, and the width and height of the original in pixels."""
    if isinstance(picture, str | Path):
        decoded = decode(Path(picture).read_bytes(), [model.view], Limits())
        return decoded.views[0], decoded.width, decoded.height
    pixels = _upright(picture) if isinstance(picture, Image.Image) else picture
    height, width = pixels.shape[:2]
    view = np.empty((model.view.height, model.view.width, 3), np.uint8)
    draw(pixels, (width, height), model.view, view)
    return view, width, height


def _upright(picture: Any) -> npt.NDArray[np.uint8]:
    return turn_upright(to_rgb(picture), read_orientation(picture))
