"""Shared areas of rotated boxes, against shapely's polygons."""

import numpy as np
import numpy.typing as npt
import pytest
from shapely import Polygon

from lakesight.metrics.rotated import intersection
from lakesight.models.rotated import corners

Floats = npt.NDArray[np.float64]


def random_pairs(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Return boxes and partners: near, far off the origin, of equal angles, equal, thin, inside."""
    a = np.column_stack(
        [
            rng.uniform(-100, 100, (count, 2)),
            rng.uniform(1, 120, (count, 2)),
            rng.uniform(-7, 7, count),
        ]
    )
    b = a + np.column_stack([rng.normal(0, 30, (count, 2)), np.zeros((count, 3))])
    kind = np.arange(count) % 8
    b[kind == 1, 2:4] = rng.uniform(1, 120, ((kind == 1).sum(), 2))
    b[kind >= 2, 4] = rng.uniform(-7, 7, (kind >= 2).sum())
    b[kind == 3] = a[kind == 3]
    b[kind == 4] = a[kind == 4] * (1, 1, 0.5, 0.5, 1)
    b[kind == 5, 2] = 1e-3
    b[kind == 6] = a[kind == 6] + (0, 0, 0, 0, np.pi / 2)
    a[kind == 7, :2] += 1e5
    b[kind == 7, :2] = a[kind == 7, :2] + 10
    return a, b


def polygon(box: Floats) -> Polygon:
    """Return a rotated box by its definition: an upright one, turned about its centre."""
    x, y, width, height, angle = box
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    unit = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    return Polygon(unit * (width, height) @ turn.T + (x, y))


def test_shared_areas_are_shapelys() -> None:
    a, b = random_pairs(np.random.default_rng(0), 4000)
    pairs = zip(map(polygon, a), map(polygon, b), strict=True)
    expected = np.array([one.intersection(other).area for one, other in pairs])
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - expected
    assert np.count_nonzero(expected) > 2000
    np.testing.assert_allclose(intersection(a, b) / union, expected / union, rtol=1e-6, atol=1e-9)


def test_order_does_not_matter() -> None:
    a, b = random_pairs(np.random.default_rng(1), 400)
    np.testing.assert_allclose(intersection(a, b), intersection(b, a), rtol=1e-9, atol=1e-6)


def test_corners_go_round_from_x_to_y() -> None:
    square = np.array([[0.0, 0, 2, 4, 0], [0, 0, 2, 4, np.pi / 2]])
    np.testing.assert_allclose(
        corners(square),
        [[[-1, -2], [1, -2], [1, 2], [-1, 2]], [[2, -1], [2, 1], [-2, 1], [-2, -1]]],
        atol=1e-12,
    )


@pytest.mark.parametrize("empty", [(0, 0), (0, 5), (5, 0)])
def test_an_empty_box_shares_nothing(empty: tuple[int, int]) -> None:
    box, nothing = np.array([[0.0, 0, 4, 4, 0.3]]), np.array([[0.0, 0, *empty, 0.1]])
    assert intersection(box, nothing) == intersection(nothing, box) == 0


def test_no_pairs() -> None:
    assert intersection(np.zeros((0, 5)), np.zeros((0, 5))).shape == (0,)
