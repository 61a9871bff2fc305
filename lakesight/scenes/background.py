"""What lies behind the shapes, and the light and the noise over the whole picture."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lakesight.scenes.paint import COLOURS, Pixels, Rgb

TONES: dict[str, Rgb] = {
    "light grey": (204, 204, 202),
    "grey": (132, 133, 135),
    "dark grey": (58, 59, 63),
    "beige": (206, 188, 152),
    "brown": (112, 82, 60),
    "olive": (104, 106, 66),
    "navy": (36, 46, 84),
}
KINDS = ("plain", "gradient", "noise", "coarse")

MIN_CONTRAST = 85.0
"""Least distance in RGB between a background and the shapes on it."""

TONE_SPREAD = 8
MAX_LIGHT = 0.16
"""How much brighter one end of the picture may be than its middle."""

MAX_NOISE = 6.0
"""Largest standard deviation of the noise, of 255 levels."""


@dataclass(frozen=True)
class Background:
    """What a background is called."""

    tone: str
    kind: str


def random_background(rng: np.random.Generator) -> Background:
    """Return a tone and a kind, each as likely as the others."""
    return Background(str(rng.choice(list(TONES))), str(rng.choice(KINDS)))


def visible_colours(tone: str) -> tuple[str, ...]:
    """Return the colours that stand out against a tone."""
    return tuple(
        name for name, rgb in COLOURS.items() if math.dist(rgb, TONES[tone]) >= MIN_CONTRAST
    )


def paint_background(
    rng: np.random.Generator, background: Background, height: int, width: int
) -> Pixels:
    """Return the pixels of a background, `(height, width, 3)`, 0 to 255."""
    tone = np.add(TONES[background.tone], rng.uniform(-TONE_SPREAD, TONE_SPREAD, size=3))
    picture = np.broadcast_to(tone.astype(np.float32), (height, width, 3)).copy()
    if background.kind == "gradient":
        picture += _ramp(rng, height, width)[..., None] * np.float32(rng.uniform(18, 34))
    elif background.kind == "noise":
        picture += _grain(rng, height, width, cell_px=rng.uniform(1.5, 3.5)) * np.float32(12)
    elif background.kind == "coarse":
        cell_px = min(height, width) / rng.uniform(5, 16)
        picture += _grain(rng, height, width, cell_px) * np.float32(14)
    return picture


def _ramp(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return a plane from -1 to 1 that rises in some direction, `(height, width)`."""
    angle = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(math.cos(angle))
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(math.sin(angle))
    size = abs(math.cos(angle)) + abs(math.sin(angle))
    return np.asarray((x + y[:, None]) / size, dtype=np.float32)


def _grain(rng: np.random.Generator, height: int, width: int, cell_px: float) -> Pixels:
    """Return smooth noise of standard deviation 1 at its cells, `(height, width, 3)`."""
    cells = max(2, round(height / cell_px)), max(2, round(width / cell_px))
    grey = rng.standard_normal((*cells, 1), dtype=np.float32)
    tint = rng.standard_normal((*cells, 3), dtype=np.float32) * np.float32(0.25)
    grain = cv2.resize(grey + tint, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(grain, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Light:
    """How a scene is lit and how noisy its camera is: the same for all frames of a video."""

    gain: Pixels
    """`(H, W, 3)`: what each pixel is multiplied with."""
    noise: float
    """Standard deviation, of 255 levels."""


def random_light(rng: np.random.Generator, height: int, width: int) -> Light:
    """Return a mild light that falls from one side, slightly tinted."""
    slope = np.float32(rng.uniform(0, MAX_LIGHT)) * _ramp(rng, height, width)
    tint = rng.uniform(0.96, 1.04, size=3) * rng.uniform(0.9, 1.06)
    gain = (1 + slope)[..., None] * tint.astype(np.float32)
    return Light(gain, float(rng.uniform(0.5, MAX_NOISE)))


def photograph(rng: np.random.Generator, picture: Pixels, light: Light) -> npt.NDArray[np.uint8]:
    """Return a lit, noisy picture as uint8."""
    lit = picture * light.gain
    lit += rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(light.noise)
    np.clip(np.rint(lit, out=lit), 0, 255, out=lit)
    return lit.astype(np.uint8)
