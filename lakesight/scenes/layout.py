"""Where the shapes of a picture lie: many, some partly hidden, all of them fair to ask for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lakesight.scenes.background import visible_colours
from lakesight.scenes.drawing import lay_on, least_visible_px
from lakesight.scenes.figure import Figure
from lakesight.scenes.paint import TEXTURES, random_paint
from lakesight.scenes.raster import Stamp, rasterise
from lakesight.scenes.shapes import LABELS, Points

MIN_SHAPES, MAX_SHAPES = 3, 10
MIN_SCALE_PX = 8.0
"""Smaller shapes are not drawn; `Figure.scale_px`."""

MIN_SCALE = 0.07
"""The same, of the picture's shorter side."""

MAIN_SCALE = (0.22, 0.36)
"""The largest shape, which gives the picture its class: of the picture's shorter side."""

MAIN_LEAD = 2.1
"""How much larger its area is than that of every other shape, all of both counted."""

MAIN_VISIBLE = 0.75
"""It shows at least so much: then it leads by 1.5 in what can be seen too."""

TEXTURE_ODDS = (0.4, 0.2, 0.2, 0.2)
NEAR_ANOTHER = 0.35
"""How often a shape is put close to one that is there, so that one may hide a part of the other."""

TRIES = 20
EDGE_PX = 2
"""Pixels between a shape and the border of its picture."""

GAP_PX = 2
"""Shapes of one colour are at least about so far apart: their border must be visible."""


@dataclass(frozen=True)
class Taste:
    """What the shapes of one picture are chosen from: a few, so that there are some to count."""

    labels: tuple[str, ...]
    colours: tuple[str, ...]

    def random_figure(self, rng: np.random.Generator, scale_px: float, label: str = "") -> Figure:
        """Return a shape of that size that has no place yet."""
        label = label or str(rng.choice(self.labels))
        colour = str(rng.choice(self.colours))
        texture = str(rng.choice(TEXTURES, p=TEXTURE_ODDS))
        paint = random_paint(rng, colour, texture, scale_px)
        return Figure(label, 0.0, 0.0, scale_px, float(rng.uniform(0, 2 * math.pi)), paint)


def random_taste(rng: np.random.Generator, tone: str) -> Taste:
    """Return classes, and colours that stand out against the background's tone."""
    colours = visible_colours(tone)
    return Taste(
        _some(rng, LABELS, int(rng.integers(2, 13))),
        _some(rng, colours, int(rng.integers(3, 9))),
    )


def _some(rng: np.random.Generator, names: Sequence[str], number: int) -> tuple[str, ...]:
    chosen = rng.choice(list(names), size=min(number, len(names)), replace=False)
    return tuple(str(name) for name in chosen)


class Arrangement:
    """Shapes from the bottom to the top."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.figures: list[Figure] = []
        self.stamps: list[Stamp] = []
        self._least_px: list[float] = [0.0]  # of the background
        self._instances = np.zeros((height, width), dtype=np.uint8)

    def add(self, figure: Figure, min_visible: float = 0.0) -> bool:
        """Put a shape on top, if it touches none of its colour and hides none too much."""
        stamp = rasterise(figure, margin_px=GAP_PX + 1)
        if any(self.figures[k].paint.colour == figure.paint.colour for k in self._touched(stamp)):
            return False
        solid_px = np.count_nonzero(stamp.solid)
        least_px = [*self._least_px, max(least_visible_px(stamp), min_visible * solid_px)]
        after = self._instances.copy()
        lay_on(after, stamp, len(least_px) - 1)
        visible_px = np.bincount(after.ravel(), minlength=len(least_px))
        if (visible_px < least_px).any():
            return False
        self.figures.append(figure)
        self.stamps.append(stamp)
        self._least_px, self._instances = least_px, after
        return True

    def _touched(self, stamp: Stamp) -> list[int]:
        """Return which figures lie under a shape or within `GAP_PX` of it."""
        reach = cv2.dilate(stamp.coverage, np.ones((2 * GAP_PX + 1,) * 2, dtype=np.uint8))
        part = Stamp(stamp.x, stamp.y, np.asarray(reach, np.uint8)).clipped(*self._instances.shape)
        found = np.bincount(self._instances[part.window][part.coverage > 0])
        return [int(number) - 1 for number in np.flatnonzero(found) if number]


def arrange(rng: np.random.Generator, height: int, width: int, tone: str) -> Arrangement:
    """Return an arrangement of 3 to 10 shapes, one of them clearly the largest."""
    while True:
        arrangement = _try_to_arrange(rng, height, width, tone)
        if arrangement is not None:
            return arrangement


def _try_to_arrange(
    rng: np.random.Generator, height: int, width: int, tone: str
) -> Arrangement | None:
    arrangement = Arrangement(height, width)
    taste = random_taste(rng, tone)
    side_px = min(height, width)
    main_px = side_px * float(rng.uniform(*MAIN_SCALE))
    num_shapes = int(rng.integers(MIN_SHAPES, MAX_SHAPES + 1))
    main = int(rng.integers(num_shapes))
    largest_px = main_px / math.sqrt(MAIN_LEAD)
    smallest_px = max(MIN_SCALE_PX, MIN_SCALE * side_px)
    for number in range(num_shapes):
        if number == main:
            label = str(rng.choice(LABELS))
            if not _place(rng, arrangement, taste, main_px, label, MAIN_VISIBLE):
                return None
        else:
            scale_px = math.exp(rng.uniform(math.log(smallest_px), math.log(largest_px)))
            _place(rng, arrangement, taste, scale_px)
    return arrangement if len(arrangement.figures) >= MIN_SHAPES else None


def _place(
    rng: np.random.Generator,
    arrangement: Arrangement,
    taste: Taste,
    scale_px: float,
    label: str = "",
    min_visible: float = 0.0,
) -> bool:
    """Put one more shape somewhere; return False where there is no room."""
    for _ in range(TRIES):
        figure = _put(rng, taste.random_figure(rng, scale_px, label), arrangement)
        if figure is not None and arrangement.add(figure, min_visible):
            return True
    return False


def _put(rng: np.random.Generator, figure: Figure, arrangement: Arrangement) -> Figure | None:
    """Return the figure at a random place, whole inside the picture; None if it is too large."""
    outline = figure.rings()[0]
    first = EDGE_PX - outline.min(axis=0)
    last = (arrangement.width - EDGE_PX, arrangement.height - EDGE_PX) - outline.max(axis=0)
    if (first > last).any():
        return None
    place = rng.uniform(first, last)
    if arrangement.figures and rng.random() < NEAR_ANOTHER:
        place = np.clip(_beside(rng, arrangement.figures, figure), first, last)
    x, y = place.tolist()
    return replace(figure, x=x, y=y)


def _beside(rng: np.random.Generator, others: Sequence[Figure], figure: Figure) -> Points:
    """Return a place `(2,)` at which the figure touches or partly covers one of the others."""
    other = others[int(rng.integers(len(others)))]
    angle = rng.uniform(0, 2 * math.pi)
    reach = rng.uniform(0.5, 1.0) * (figure.scale_px + other.scale_px) / 2
    return np.array([other.x + reach * math.cos(angle), other.y + reach * math.sin(angle)])
