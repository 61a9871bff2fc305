"""Pixels as a column, there and back."""

import numpy as np
import pyarrow as pa

from actors import columns
from lakesight.media.view import ImageView

VIEW = ImageView(width=5, height=3)


def test_pixels_come_back_as_they_went_also_from_a_slice() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (6, 3, 5, 3), np.uint8))
    column = pa.chunked_array(
        [columns.pack(VIEW, images[:4], 4), columns.pack(VIEW, images[4:], 2)]
    )
    for start, count in ((0, 6), (1, 4), (3, 2), (5, 1), (6, 0)):
        back = columns.unpack(VIEW, column.slice(start, count))
        assert len(back) == count
        for image, expected in zip(back, images[start : start + count], strict=True):
            np.testing.assert_array_equal(image, expected)


def test_rows_without_pixels_are_null() -> None:
    column = columns.pack(VIEW, None, 3)
    assert column.null_count == 3
    assert column.type == columns.pack(VIEW, [np.zeros((3, 5, 3), np.uint8)], 1).type


def test_two_views_have_two_names() -> None:
    others = [
        VIEW.model_copy(update=change) for change in ({"width": 6}, {"fit": "crop"}, {"pad": 0})
    ]
    assert len({columns.pixels_name(view) for view in (VIEW, *others)}) == 4
