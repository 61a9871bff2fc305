"""Short videos of shapes that move, frame by frame, with their identities."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lakesight.scenes.background import (
    paint_background,
    random_background,
    random_light,
    visible_colours,
)
from lakesight.scenes.drawing import Drawing, draw
from lakesight.scenes.figure import Figure
from lakesight.scenes.layout import MIN_SCALE_PX, Taste
from lakesight.scenes.motion import Bounce, Pass, Path, Place, Track, Turn
from lakesight.scenes.raster import rasterise
from lakesight.scenes.scene import check_size
from lakesight.scenes.shapes import LABELS

FRAMES_PER_S = 10.0
VIDEO_STREAM = 1
"""Keeps a video's random numbers apart from those of the picture of the same index."""

MIN_TRACKS, MAX_TRACKS = 3, 7
SCALE = (0.1, 0.22)
"""Of the picture's shorter side."""

SPEED = (0.008, 0.03)
"""Of the picture's shorter side, a frame."""

PASSAGE = 1.8
"""How many shorter sides a shape that passes through goes while a video lasts."""

MAX_PASSING_SPEED = 0.06
"""Of the picture's shorter side, a frame: in a short video it does not get all the way through."""

TURNING_SPEED = (0.04, 0.14)
"""Of what goes round an ellipse, in radians a frame."""

MAX_SPIN = 0.08
"""Radians a frame."""


@dataclass(frozen=True, eq=False)
class Frame(Drawing):
    """One picture of a video; `SceneObject.instance_id` is the same in all frames.

    An object of which too little shows is left out of a frame, and comes back under its identity.
    """

    frame_index: int

    @property
    def timestamp_s(self) -> float:
        """Seconds since the first frame."""
        return self.frame_index / FRAMES_PER_S


def frames(
    seed: int, index: int, size: int | tuple[int, int] = 320, num_frames: int = 32
) -> Iterator[Frame]:
    """Yield the frames of video `index` of `seed`, the same for the same arguments.

    One shape passes through behind another, which stays; the others bounce, turn or pass.
    `size` as in `lakesight.scenes.generate`.
    """
    width, height = check_size(size)
    sequence = np.random.SeedSequence([seed, index], spawn_key=(VIDEO_STREAM,))
    rng = np.random.default_rng(sequence)
    background = random_background(rng)
    backdrop = paint_background(rng, background, height, width)
    light = random_light(rng, height, width)
    tracks = _tracks(rng, (width, height), background.tone, num_frames)
    for frame_index in range(num_frames):
        figures = [track.at(frame_index) for track in tracks]
        stamps = [rasterise(figure) for figure in figures]
        drawing = draw(rng, backdrop, light, figures, stamps)
        yield Frame(drawing.pixels, drawing.instances, drawing.objects, frame_index)


def _tracks(
    rng: np.random.Generator, size: tuple[int, int], tone: str, num_frames: int
) -> list[Track]:
    """Return what moves, from the bottom to the top, each in a colour of its own."""
    colours = rng.permutation(list(visible_colours(tone))).tolist()
    num_others = min(int(rng.integers(MIN_TRACKS, MAX_TRACKS + 1)), len(colours)) - 1
    others = [
        _track(rng, colour, size, num_frames, stays=number == 0)
        for number, colour in enumerate(colours[:num_others])
    ]
    met = others[0].path.at(num_frames / 2)
    behind = Pass(met, num_frames / 2, _passing(rng, min(size), num_frames))
    return [Track(_figure(rng, colours[-1], min(size)), behind, _spin(rng)), *others]


def _track(
    rng: np.random.Generator, colour: str, size: tuple[int, int], num_frames: int, *, stays: bool
) -> Track:
    """Return a shape on a random path; one that stays does not leave the picture."""
    figure, side_px = _figure(rng, colour, min(size)), min(size)
    reach = float(np.linalg.norm(figure.shape.rings[0], axis=1).max()) * figure.scale_px
    low, high = (reach, reach), (size[0] - reach, size[1] - reach)
    x, y = rng.uniform(low, high).tolist()
    speed = side_px * float(rng.uniform(*SPEED))
    paths: tuple[Path, ...] = (
        Bounce((x, y), _direction(rng, speed), low, high),
        _turn(rng, (x, y), low, high),
        Pass((x, y), float(rng.uniform(0, num_frames)), _passing(rng, side_px, num_frames)),
    )
    return Track(figure, paths[int(rng.integers(2 if stays else 3))], _spin(rng))


def _figure(rng: np.random.Generator, colour: str, side_px: int) -> Figure:
    scale_px = max(MIN_SCALE_PX, side_px * float(rng.uniform(*SCALE)))
    return Taste(LABELS, (colour,)).random_figure(rng, scale_px)


def _spin(rng: np.random.Generator) -> float:
    return float(rng.uniform(-MAX_SPIN, MAX_SPIN))


def _direction(rng: np.random.Generator, length: float) -> Place:
    angle = rng.uniform(0, 2 * math.pi)
    return length * math.cos(angle), length * math.sin(angle)


def _passing(rng: np.random.Generator, side_px: int, num_frames: int) -> Place:
    return _direction(rng, side_px * min(MAX_PASSING_SPEED, PASSAGE / num_frames))


def _turn(rng: np.random.Generator, centre: Place, low: Place, high: Place) -> Turn:
    """Return an ellipse around a place that stays within a field."""
    room_x, room_y = (
        min(at - least, most - at) for at, least, most in zip(centre, low, high, strict=True)
    )
    radii = room_x * float(rng.uniform(0.2, 1.0)), room_y * float(rng.uniform(0.2, 1.0))
    speed = float(rng.uniform(*TURNING_SPEED)) * float(rng.choice((-1, 1)))
    return Turn(centre, radii, float(rng.uniform(0, 2 * math.pi)), speed)
