"""Columns that travel with the rows through Ray, and are gone once a piece is committed.

Every row carries its place in its piece; on the way to a pool of its own, also its pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.media.view import ImageView
from lakesight.models.base import Image

PIECE, INDEX, TALLIES = "_piece", "_index", "_tallies"
"""A row's piece and its number in it; what the stages before have done with the piece, as JSON."""

REPORT = pa.schema([pa.field("_report", pa.string())])
"""What the last stage gives back of a piece: a `PieceReport` as JSON."""


def is_report(block: pa.Table) -> bool:
    """Return whether a block is a piece's report already: a later stage hands it on."""
    return bool(block.schema.equals(REPORT))


PIXELS = "_view_"
"""How the names of columns of pixels begin."""


def pixels_name(view: ImageView) -> str:
    """Return the name of the column that holds a view's pixels."""
    return f"{PIXELS}{view.width}x{view.height}_{view.fit}_{view.interpolation}_{view.pad}"


def pack(view: ImageView, images: Sequence[Image] | None, num_rows: int) -> pa.Array:
    """Return images `(height, width, 3)` as one fixed-size binary value each; None gives nulls."""
    pixels = pa.binary(view.height * view.width * 3)
    if images is None:
        return pa.nulls(num_rows, pixels)
    stacked = np.stack(images)  # (B, H, W, 3)
    return pa.FixedSizeBinaryArray.from_buffers(pixels, num_rows, [None, pa.py_buffer(stacked)])


def unpack(view: ImageView, column: pa.ChunkedArray) -> list[Image]:
    """Return the images of a column without nulls, without copying them."""
    return [image for chunk in column.chunks for image in _unpack_chunk(view, chunk)]


def _unpack_chunk(view: ImageView, chunk: pa.Array) -> npt.NDArray[np.uint8]:
    size = view.height * view.width * 3
    pixels = np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * size, chunk.offset * size)
    return pixels.reshape(len(chunk), view.height, view.width, 3)
