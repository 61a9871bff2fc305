"""Named colours, textures, and the colour of every pixel that a shape covers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
Rgb = tuple[float, float, float]

COLOURS: dict[str, Rgb] = {
    "red": (212, 36, 38),
    "orange": (248, 134, 22),
    "yellow": (246, 216, 42),
    "green": (42, 158, 58),
    "cyan": (64, 202, 216),
    "blue": (38, 84, 214),
    "purple": (144, 62, 186),
    "white": (246, 246, 246),
}
TEXTURES = ("plain", "striped", "dotted", "checked")

COLOUR_SPREAD = 14
"""How far a shape's colour may be from the one that its name stands for, per channel."""

ACCENT = 0.6
"""How far towards black or white the second colour of a texture lies."""

MIN_PERIOD_PX = 5.0
"""Stripes and dots that repeat in less are hard to tell from a plain colour."""


@dataclass(frozen=True)
class Paint:
    """What a shape is covered with."""

    colour: str
    texture: str
    rgb: Rgb
    period_px: float
    """After how much the texture repeats."""
    phase: tuple[float, float]
    """Where it begins, in periods."""

    @property
    def accent(self) -> Rgb:
        """The second colour of a texture: darker for light colours, lighter for dark ones."""
        red, green, blue = self.rgb
        is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
        goal = 0 if is_light else 255
        amount = ACCENT * 0.75 if is_light else ACCENT
        red, green, blue = (channel + (goal - channel) * amount for channel in self.rgb)
        return red, green, blue


def random_paint(rng: np.random.Generator, colour: str, texture: str, scale_px: float) -> Paint:
    """Return a paint of that colour and texture for a shape of that size."""
    shift = rng.uniform(-COLOUR_SPREAD, COLOUR_SPREAD, size=3)
    red, green, blue = np.clip(np.add(COLOURS[colour], shift), 0, 255).tolist()
    period_px = max(MIN_PERIOD_PX, scale_px / rng.uniform(3.5, 6.0))
    phase_x, phase_y = rng.uniform(size=2).tolist()
    return Paint(colour, texture, (red, green, blue), period_px, (phase_x, phase_y))


def accent_share(paint: Paint, along: Pixels, across: Pixels) -> Pixels:
    """Return how much of the second colour each pixel takes, 0 to 1, anti-aliased.

    `along` and `across` are `(H, W)`: the pixels' places in the shape's own, turned axes, in px.
    """
    period = paint.period_px
    if paint.texture == "striped":
        return _band(along / period + paint.phase[0], period)
    if paint.texture == "checked":
        first = _band(along / (2 * period) + paint.phase[0], 2 * period)
        second = _band(across / (2 * period) + paint.phase[1], 2 * period)
        return first + second - 2 * first * second
    if paint.texture == "dotted":
        x = _from_middle(along / period + paint.phase[0]) * period
        y = _from_middle(across / period + paint.phase[1]) * period
        dots: Pixels = np.clip(0.3 * period - np.hypot(x, y) + 0.5, 0, 1)
        return dots
    return np.zeros_like(along)


def _from_middle(turns: Pixels) -> Pixels:
    """Return the distance to the middle of the period, -0.5 to 0.5 periods."""
    return np.asarray(turns - np.floor(turns) - np.float32(0.5))


def _band(turns: Pixels, period_px: float) -> Pixels:
    """Return 1 in the middle half of every period, with an edge one pixel wide."""
    share: Pixels = np.clip((0.25 - np.abs(_from_middle(turns))) * period_px + 0.5, 0, 1)
    return share
