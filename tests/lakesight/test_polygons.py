"""Filled polygons, pixel for pixel against the C++ of faster-coco-eval."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference

from lakesight.errors import UserError
from lakesight.masks import decode
from lakesight.polygons import encode_polygons

HEIGHT, WIDTH = 43, 57


def random_polygon(rng: np.random.Generator) -> list[float]:
    """Return 3 to 11 points that may cross, repeat and leave the picture; some whole, some not."""
    points = rng.uniform(-12, 70, (int(rng.integers(3, 12)), 2))
    points = np.round(points, int(rng.integers(0, 3)))
    if rng.random() < 0.2:
        points[1] = points[0]
    return [float(value) for value in points.ravel()]


@pytest.mark.parametrize("seed", range(5))
def test_a_polygon_is_filled_as_the_reference_fills_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        polygons = [random_polygon(rng) for _ in range(int(rng.integers(1, 3)))]
        expected = reference.merge(reference.frPyObjects(polygons, HEIGHT, WIDTH))
        drawn = decode(encode_polygons(polygons, HEIGHT, WIDTH))
        np.testing.assert_array_equal(drawn, reference.decode(expected).astype(bool), str(polygons))


def test_no_polygon_is_an_empty_mask() -> None:
    assert not decode(encode_polygons([], 4, 6)).any()


@pytest.mark.parametrize("polygon", [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, np.nan, 2]])
def test_what_is_no_polygon_is_refused(polygon: list[float]) -> None:
    with pytest.raises(UserError, match="three points"):
        encode_polygons([polygon], 10, 10)
