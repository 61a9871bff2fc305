"""Overlap of rotated boxes: the exact area that two rectangles share, many pairs at once.

Shape letters: P pairs, V vertices of a padded polygon.
"""

import numpy as np
import numpy.typing as npt

from lakesight.models.rotated import corners

Floats = npt.NDArray[np.float64]


def intersection(a_xywhr: Floats, b_xywhr: Floats) -> Floats:
    """Return the area `(P,)` that each pair of rotated boxes `(P, 5)` shares.

    Each box of `a` is cut by the four sides of its partner (Sutherland and Hodgman, "Reentrant
    polygon clipping", CACM 1974).
    """
    shared = np.zeros(len(a_xywhr))
    near = np.flatnonzero(_may_meet(a_xywhr, b_xywhr))
    origin = a_xywhr[near, :2]  # far from 0, the last digits of a product are those of the area
    a, b = a_xywhr[near].copy(), b_xywhr[near].copy()
    a[:, :2] -= origin
    b[:, :2] -= origin
    polygon, side = corners(a), corners(b)
    for k in range(4):
        polygon = _cut(polygon, side[:, k], side[:, (k + 1) % 4])
    shared[near] = _area(polygon)
    return shared


def _may_meet(a_xywhr: Floats, b_xywhr: Floats) -> npt.NDArray[np.bool_]:
    """Return which pairs are near and large enough to share anything."""
    apart = np.hypot(*(a_xywhr[:, :2] - b_xywhr[:, :2]).T)
    radii = np.hypot(*a_xywhr[:, 2:4].T) + np.hypot(*b_xywhr[:, 2:4].T)
    solid = (a_xywhr[:, 2:4] > 0).all(axis=1) & (b_xywhr[:, 2:4] > 0).all(axis=1)
    return np.asarray(solid & (apart * 2 <= radii))


def _cut(polygon_pv: Floats, start: Floats, end: Floats) -> Floats:
    """Return the part `(P, V + 2, 2)` of convex polygons `(P, V, 2)` on the inner side of a line.

    A polygon with fewer vertices repeats its last one, which adds no area; one that is cut away
    wholly is a point. A cut adds one vertex, and by rounding two, where sides lie on one line.
    """
    along = (end - start)[:, None]  # (P, 1, 2)
    height = _cross(along, polygon_pv - start[:, None])  # (P, V), above 0 inside
    following, height_following = np.roll(polygon_pv, -1, axis=1), np.roll(height, -1, axis=1)
    inside = height >= 0
    crossing = inside != (height_following >= 0)
    fall = np.where(crossing, height - height_following, 1)
    share = (height / fall)[..., None]
    cut = np.where(crossing[..., None], polygon_pv + share * (following - polygon_pv), polygon_pv)
    num_pairs, size = height.shape
    kept = np.stack([inside, crossing], axis=2).reshape(num_pairs, 2 * size)
    points = np.stack([polygon_pv, cut], axis=2).reshape(num_pairs, 2 * size, 2)
    return _packed(points, kept, size + 2)


def _packed(points: Floats, kept: npt.NDArray[np.bool_], size: int) -> Floats:
    """Return the kept points in order, `(P, size, 2)`, the last one repeated; all 0 if none is."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :size]
    count = kept.sum(axis=1)
    slots = np.minimum(np.arange(size), np.maximum(count - 1, 0)[:, None])
    chosen = np.take_along_axis(order, slots, axis=1)
    packed = np.take_along_axis(points, chosen[..., None], axis=1)
    return np.where((count > 0)[:, None, None], packed, 0)


def _area(polygon_pv: Floats) -> Floats:
    """Return the areas of polygons `(P, V, 2)` that go round from x to y (the shoelace formula)."""
    inner = polygon_pv - polygon_pv[:, :1]
    twice = _cross(inner, np.roll(inner, -1, axis=1)).sum(axis=1)
    return np.asarray(np.maximum(twice / 2, 0))


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
