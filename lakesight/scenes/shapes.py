"""The twelve classes of shapes: outlines of area 1, and the points that name their parts.

Coordinates are x to the right, y down; outlines run clockwise as one sees them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""`(N, 2)`: x, y."""

CURVE = 96
"""Corners of the polygon that stands for a circle: off the circle by 0.05 % of its radius."""

RING_HOLE = 0.56
STAR_WAIST = 0.42
CROSS_ARM = 0.34
CRESCENT_HOLE, CRESCENT_SHIFT = 0.85, 0.45
SAME = 1e-6
"""Relative difference below which two rectangles are equally large, or equally square."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A class of shapes, of area 1, around the origin."""

    rings: tuple[Points, ...]
    """The outline, clockwise, and the outline of the hole if there is one."""
    points: Points
    """`(K, 2)`, K of 1 to 8, on the outline, clockwise: what becomes its keypoints."""
    rectangles: Points
    """`(M, 5)`: the rectangles of minimum area around it (centre, width, height, angle)."""
    turns: bool
    """Whether it looks different when it is turned."""
    repeats: bool
    """Whether it looks the same after a part of a turn, or after any."""


def _polar(angles: Points, radii: Points | float = 1.0) -> Points:
    points: Points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points *= np.reshape(radii, (-1, 1))
    return points


def _regular(corners: int) -> Points:
    return _polar(np.arange(corners) * 2 * np.pi / corners - np.pi / 2)


def _star() -> Points:
    return _regular(10) * np.where(np.arange(10) % 2, STAR_WAIST, 1.0)[:, None]


def _triangle() -> Points:
    """Return a triangle that is higher than wide: its three sides can be told apart."""
    return np.array([(0.0, -1.0), (0.78, 0.8), (-0.78, 0.8)])


def _cross() -> Points:
    a = CROSS_ARM
    arm = np.array([(-a, -1.0), (a, -1.0), (a, -a)])
    quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)])


def _arrow() -> Points:
    right = [(0.0, -1.0), (0.75, -0.1), (0.3, -0.1), (0.3, 1.0)]
    left = [(-x, y) for x, y in reversed(right[1:])]
    return np.array(right + left)


def _semicircle() -> Points:
    return _polar(np.linspace(np.pi, 2 * np.pi, CURVE // 2 + 1))


def _heart() -> Points:
    """Return the heart curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    t = np.arange(CURVE) * 2 * np.pi / CURVE
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1)


def _crescent() -> Points:
    """Return a disc without a smaller disc to its right: tip, outer arc, tip, inner arc."""
    hole, shift = CRESCENT_HOLE, CRESCENT_SHIFT
    tip_x = (shift**2 + 1 - hole**2) / (2 * shift)
    outer = np.arccos(tip_x)
    inner = np.arccos((tip_x - shift) / hole)
    outer_arc = _polar(np.linspace(outer, 2 * np.pi - outer, CURVE // 2 + 1))
    inner_arc = _polar(np.linspace(2 * np.pi - inner, inner, CURVE // 2 + 1), hole)
    return np.concatenate([outer_arc, np.add(inner_arc[1:-1], (shift, 0))])


_QUARTERS = range(0, CURVE, CURVE // 4)
_CLASSES: dict[str, tuple[Callable[[], Points], Sequence[int]]] = {
    "circle": (lambda: _regular(CURVE), _QUARTERS),
    "square": (lambda: _regular(4), range(4)),
    "triangle": (_triangle, range(3)),
    "star": (_star, range(0, 10, 2)),
    "pentagon": (lambda: _regular(5), range(5)),
    "hexagon": (lambda: _regular(6), range(6)),
    "cross": (_cross, (0, 1, 3, 4, 6, 7, 9, 10)),
    "arrow": (_arrow, range(7)),
    "ring": (lambda: _regular(CURVE), _QUARTERS),
    "semicircle": (_semicircle, (0, CURVE // 4, CURVE // 2)),
    "heart": (_heart, (0, CURVE // 2)),
    "crescent": (_crescent, (0, CURVE // 4, CURVE // 2)),
}
"""Per class its outline, clockwise, and which of its corners are keypoints."""

LABELS = tuple(_CLASSES)
"""The classes by `class_id`."""

ROUND = frozenset({"circle", "ring"})
"""Classes that look the same however they are turned."""

REPEATING = frozenset({"square", "star", "pentagon", "hexagon", "cross"})
"""Classes that look the same after a part of a turn: nobody can tell their points apart."""


@cache
def shape(label: str) -> Shape:
    """Return the shape of a class."""
    outline_of, corners = _CLASSES[label]
    outline = outline_of()
    rings = (outline, outline * RING_HOLE) if label == "ring" else (outline,)
    area = signed_area(outline) - sum(signed_area(ring) for ring in rings[1:])
    rings = tuple(ring / np.sqrt(area) for ring in rings)
    turns = label not in ROUND
    rectangles = minimum_rectangles(rings[0]) if turns else _upright_rectangle(rings[0])
    repeats = label in ROUND | REPEATING
    return Shape(rings, rings[0][list(corners)], rectangles, turns, repeats)


def signed_area(ring: Points) -> float:
    """Return the area of a polygon, positive if it runs clockwise (with y down)."""
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def minimum_rectangles(ring: Points) -> Points:
    """Return the smallest rectangles around a polygon, `(M, 5)`: centre, width, height, angle.

    One side of a smallest rectangle lies on a side of the convex hull (Freeman and Shapira, 1975).
    Of equally small ones only the squarest are returned: around a triangle there are always three.
    """
    corners = cv2.convexHull(ring.astype(np.float32), returnPoints=False)
    hull: Points = ring[np.sort(corners.ravel())]
    sides = np.roll(hull, -1, axis=0) - hull
    found = np.array([_rectangle(hull, angle) for angle in np.arctan2(sides[:, 1], sides[:, 0])])
    areas = found[:, 2] * found[:, 3]
    found = found[areas <= areas.min() * (1 + SAME)]
    lengths = found[:, 2:4].max(axis=1)
    squarest: Points = found[lengths <= lengths.min() * (1 + SAME)]
    return squarest


def _upright_rectangle(ring: Points) -> Points:
    return np.array([_rectangle(ring, 0.0)])


def _rectangle(points: Points, angle: float) -> Points:
    """Return the rectangle around points whose width lies along `angle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    axes = np.array([(cos, sin), (-sin, cos)])  # rows: along the width, along the height
    along = points @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    return np.array([*((low + high) / 2 @ axes), *(high - low), angle])
