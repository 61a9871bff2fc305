"""One shape in a picture: its class, where it lies, and how it is painted."""

import math
from dataclasses import dataclass

import numpy as np

from lakesight.scenes.paint import Paint
from lakesight.scenes.shapes import Points, Shape, shape

RotatedBox = tuple[float, float, float, float, float]
"""Centre x, centre y, width, height, angle."""


@dataclass(frozen=True)
class Figure:
    """A shape as it is drawn. Pixel (0, 0) covers 0 to 1, so its centre is at (0.5, 0.5)."""

    label: str
    x: float
    y: float
    scale_px: float
    """Side of the square that has the same area as the whole shape."""
    angle: float
    """Radians, clockwise as one sees it."""
    paint: Paint

    @property
    def shape(self) -> Shape:
        """The class's outline and points."""
        return shape(self.label)

    @property
    def turn(self) -> float:
        """The angle of the outline: 0 for a class that looks the same however it is turned."""
        return self.angle if self.shape.turns else 0.0

    def place(self, points: Points) -> Points:
        """Return points of the class, `(N, 2)`, in the picture's pixels."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        turned = points @ np.array([(cos, sin), (-sin, cos)])
        placed: Points = turned * self.scale_px + (self.x, self.y)
        return placed

    def rings(self) -> tuple[Points, ...]:
        """Return the outlines in the picture's pixels."""
        return tuple(self.place(ring) for ring in self.shape.rings)

    def keypoints(self) -> Points:
        """Return its points `(K, 2)`, clockwise.

        The first is the class's own, however the shape is turned (an arrow's tip). Of a class that
        looks the same after a part of a turn it is the topmost, of two as high the left one.
        """
        points = self.place(self.shape.points)
        if not self.shape.repeats:
            return points
        first = np.lexsort((points[:, 0], points[:, 1].round(3)))[0]
        return np.roll(points, -int(first), axis=0)

    def rotated_box(self) -> RotatedBox:
        """Return the rectangle of minimum area around the whole shape, as `schemas.OBB` wants it.

        Width is the longer side; the angle, in [-pi/4, 3/4 pi), is the width's, clockwise from the
        x axis. A square one is given the angle in [-pi/4, pi/4). Of several rectangles as small (a
        pentagon has five) it is the one that is turned least, of two as much clockwise.
        """
        boxes = []
        for x, y, *sides in self.shape.rectangles.tolist():
            centre_x, centre_y = self.place(np.array([(x, y)]))[0].tolist()
            width, height, angle = _long_side_first(sides[0], sides[1], sides[2] + self.turn)
            sides_px = width * self.scale_px, height * self.scale_px
            boxes.append((centre_x, centre_y, *sides_px, angle))
        *box, angle = min(boxes, key=lambda box: (round(abs(box[4]), 6), -box[4]))
        return (*box, angle + math.pi if angle < -math.pi / 4 else angle)


def _long_side_first(width: float, height: float, angle: float) -> tuple[float, float, float]:
    """Return width, height and the width's angle, nearest to 0, of the same rectangle."""
    is_square = math.isclose(width, height, rel_tol=1e-6)
    period = math.pi / 2 if is_square else math.pi
    if width < height:
        width, height, angle = height, width, angle + math.pi / 2
    angle = (angle + period / 2) % period - period / 2
    if angle >= period / 2:  # the remainder of a tiny negative number rounds up to the period
        angle -= period
    return width, height, angle
