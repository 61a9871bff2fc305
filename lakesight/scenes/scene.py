"""One generated picture with everything that is true of it."""

from dataclasses import dataclass

import numpy as np

from lakesight.errors import UserError
from lakesight.scenes.background import (
    Background,
    paint_background,
    random_background,
    random_light,
)
from lakesight.scenes.captions import captions, description
from lakesight.scenes.drawing import Drawing, draw
from lakesight.scenes.layout import arrange
from lakesight.scenes.questions import Question, questions
from lakesight.scenes.shapes import LABELS

MIN_SIZE_PX, MAX_SIZE_PX = 64, 4096


@dataclass(frozen=True, eq=False)
class Scene(Drawing):
    """A picture, its objects, and what can be said of it as a whole."""

    background: Background
    label: str
    """The class of the largest object, which shows at least 1.5 times as much as any other."""
    labels: tuple[str, ...]
    """The classes that are in the picture, by `class_id`."""
    captions: tuple[str, ...]
    """3 to 5."""
    description: str
    """A caption of everything: see `captions.description`."""
    questions: tuple[Question, ...]


def generate(seed: int, index: int, size: int | tuple[int, int] = 320) -> Scene:
    """Return picture `index` of `seed`: the same for the same three arguments, whatever else ran.

    `size` is the side of a square picture or `(width, height)`, in px, 64 to 4096.
    """
    width, height = check_size(size)
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    background = random_background(rng)
    backdrop = paint_background(rng, background, height, width)
    arrangement = arrange(rng, height, width, background.tone)
    light = random_light(rng, height, width)
    drawing = draw(rng, backdrop, light, arrangement.figures, arrangement.stamps)
    objects = drawing.objects
    present = {found.label for found in objects}
    return Scene(
        pixels=drawing.pixels,
        instances=drawing.instances,
        objects=objects,
        background=background,
        label=max(objects, key=lambda found: found.area_px).label,
        labels=tuple(label for label in LABELS if label in present),
        captions=captions(rng, objects, background.tone, width, height),
        description=description(objects, background.tone),
        questions=questions(rng, objects, width, height),
    )


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return `(width, height)`; raise UserError where it is too small or too large to draw."""
    width, height = (size, size) if isinstance(size, int) else size
    if not all(MIN_SIZE_PX <= side <= MAX_SIZE_PX for side in (width, height)):
        raise UserError(
            f"expected a size of {MIN_SIZE_PX} to {MAX_SIZE_PX} px a side, got {width}x{height}"
        )
    return width, height
