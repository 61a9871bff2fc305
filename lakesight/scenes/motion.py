"""How a shape moves through a video: it bounces, it turns in a curve, or it passes through."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

from lakesight.scenes.figure import Figure

Place = tuple[float, float]


class Path(Protocol):
    """Where something is at a frame, which may be a fraction."""

    def at(self, frame: float) -> Place:
        """Return x and y in px."""
        ...


@dataclass(frozen=True)
class Bounce:
    """Straight on, and thrown back by the borders of a field."""

    start: Place
    velocity: Place
    """Px a frame."""
    low: Place
    """The field's least x and y."""
    high: Place

    def at(self, frame: float) -> Place:
        """See `Path.at`."""
        x, y = (
            _reflect(start + speed * frame, low, high)
            for start, speed, low, high in zip(
                self.start, self.velocity, self.low, self.high, strict=True
            )
        )
        return x, y


def _reflect(value: float, low: float, high: float) -> float:
    """Return where a ball is that would be at `value` if nothing stood in its way."""
    length = high - low
    return high - abs((value - low) % (2 * length) - length)


@dataclass(frozen=True)
class Turn:
    """Along an ellipse."""

    centre: Place
    radii: Place
    phase: float
    radians_per_frame: float

    def at(self, frame: float) -> Place:
        """See `Path.at`."""
        angle = self.phase + self.radians_per_frame * frame
        return (
            self.centre[0] + self.radii[0] * math.cos(angle),
            self.centre[1] + self.radii[1] * math.sin(angle),
        )


@dataclass(frozen=True)
class Pass:
    """Straight through: in at one border, out at another."""

    middle: Place
    """Where it is at `middle_frame`."""
    middle_frame: float
    velocity: Place

    def at(self, frame: float) -> Place:
        """See `Path.at`."""
        elapsed = frame - self.middle_frame
        return (
            self.middle[0] + self.velocity[0] * elapsed,
            self.middle[1] + self.velocity[1] * elapsed,
        )


@dataclass(frozen=True)
class Track:
    """A shape, its path, and how fast it turns about itself."""

    figure: Figure
    path: Path
    spin: float
    """Radians a frame."""

    def at(self, frame: int) -> Figure:
        """Return the shape as it lies in a frame."""
        x, y = self.path.at(frame)
        return replace(self.figure, x=x, y=y, angle=self.figure.angle + self.spin * frame)
