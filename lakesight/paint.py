"""What a model says, painted over the pixels of a picture: masks, boxes, skeletons, labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from textwrap import wrap
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lakesight import masks
from lakesight.draw import COCO_BONES, area_of, hue, name_of
from lakesight.models.base import Image
from lakesight.models.rotated import corners

Colour = tuple[int, int, int]
"""Red, green, blue."""

LIGHTNESS, CHROMA = 0.82, 0.18
"""Of every colour, in Oklch, as in the report."""
MASK_ALPHA = 0.45
MAX_TEXT = 40
"""Characters of a label that are shown."""
INK: Colour = (13, 13, 12)
LIGHT: Colour = (240, 240, 238)


def paint(
    image: Image,
    detections: Iterable[Mapping[str, Any]],
    *,
    size_wh: tuple[int, int] | None = None,
    min_keypoint_score: float = 0.3,
) -> Image:
    """Return a copy of a picture with objects on it; large ones first, every label on top.

    Args:
        image: `(H, W, 3)`.
        detections: as in the `detections` column, in pixels of a picture of `size_wh`.
        size_wh: of the original, where `image` is a reduced one.
        min_keypoint_score: weaker keypoints, and the bones that end in them, are not drawn.
    """
    height, width = image.shape[:2]
    scale = np.array([width, height]) / (size_wh or (width, height))
    ordered = sorted(detections, key=lambda found: -area_of(found["box"]))
    colours = [colour_of(name_of(found)) for found in ordered]
    painted = np.ascontiguousarray(image).copy()
    for found, colour in zip(ordered, colours, strict=True):
        if found.get("mask"):
            _fill(painted, found["mask"], colour)
    line = max(2, round(_unit(image) * 2))
    for found, colour in zip(ordered, colours, strict=True):
        outline = np.round(_outline(found) * scale).astype(np.int32)
        smooth = cv2.LINE_AA if found.get("obb") else cv2.LINE_8
        cv2.polylines(painted, [outline], True, colour, line, smooth)
        points = np.reshape(found.get("keypoints") or (), (-1, 3))
        _skeleton(painted, points * [*scale, 1], colour, line, min_keypoint_score)
    return _labelled(painted, ordered, colours, scale)


def write(image: Image, lines: Sequence[str]) -> Image:
    """Return a copy of a picture with lines of text at its top, wrapped to its width."""
    canvas = Pillow.fromarray(image)
    draw, size = ImageDraw.Draw(canvas), _font_size(image)
    top = 0.0
    for line in lines:
        for part in wrap(line, max(8, round(canvas.width / size * 1.7))):
            plate = replace(Plate.of(part, size), top=top)
            plate.draw(draw, part, size, LIGHT)
            top += plate.height
    return np.asarray(canvas)


def colour_of(label: str) -> Colour:
    """Return the colour of a label: the same in every picture, and as in the report."""
    return oklch(LIGHTNESS, CHROMA, hue(label))


def oklch(lightness: float, chroma: float, degrees: float) -> Colour:
    """Return a colour in sRGB, or the nearest to it there.

    As https://bottosson.github.io/posts/oklab/ defines it.
    """
    a, b = chroma * np.cos(np.deg2rad(degrees)), chroma * np.sin(np.deg2rad(degrees))
    cones = np.array(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_rgb @ cones**3, 0, 1)
    values = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    red, green, blue = (round(255 * float(value)) for value in values)
    return red, green, blue


def _unit(image: Image) -> float:
    """Return how many pixels of the picture are one of a screen that shows it."""
    height, width = image.shape[:2]
    return float(max(height, width)) / 640


def _font_size(image: Image) -> float:
    return max(11.0, 13 * _unit(image))


def _outline(found: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the corners `(4, 2)` of the rotated box, or of the upright one."""
    if found.get("obb"):
        return np.asarray(corners(np.array([found["obb"]], np.float64))[0], np.float64)
    left, top, right, bottom = found["box"]
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def _fill(painted: Image, rle: Mapping[str, Any], colour: Colour) -> None:
    """Tint the pixels of a mask."""
    height, width = painted.shape[:2]
    mask = masks.decode(masks.Rle(tuple(rle["size"]), rle["counts"])).astype(np.uint8)
    shown = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    mixed = painted[shown] * (1 - MASK_ALPHA) + np.array(colour) * MASK_ALPHA
    painted[shown] = mixed.round().astype(np.uint8)


def _skeleton(
    painted: Image,
    points: npt.NDArray[np.float64],
    colour: Colour,
    line: int,
    min_score: float,
) -> None:
    """Draw bones, where they are known, and a dot with a light middle for each keypoint."""
    places = [(round(float(x)), round(float(y))) for x, y, _ in points]
    seen = points[:, 2] >= min_score
    for start, end in COCO_BONES if len(points) == 17 else ():
        if seen[start] and seen[end]:
            cv2.line(painted, places[start], places[end], colour, line, cv2.LINE_AA)
    for place in (place for place, there in zip(places, seen, strict=True) if there):
        cv2.circle(painted, place, 2 * line, colour, -1, cv2.LINE_AA)
        cv2.circle(painted, place, line, (255, 255, 255), -1, cv2.LINE_AA)


def _labelled(
    painted: Image,
    ordered: Sequence[Mapping[str, Any]],
    colours: Sequence[Colour],
    scale: npt.NDArray[np.float64],
) -> Image:
    """Write the labels, each where it hides no other if there is such a place."""
    canvas = Pillow.fromarray(painted)
    draw, size = ImageDraw.Draw(canvas), _font_size(painted)
    taken: list[Plate] = []
    for found, colour in zip(ordered, colours, strict=True):
        text = f"{' '.join(name_of(found).split())[:MAX_TEXT]} {found['score']:.2f}"
        outline = _outline(found) * scale
        left, top = outline[np.lexsort((outline[:, 0], outline[:, 1]))[0]].tolist()
        bottom = float(outline[:, 1].max())
        plate = Plate.of(text, size)
        left = max(0.0, min(left, canvas.width - plate.width))
        rows = [top - plate.height, top, bottom]  # above, inside, below
        inside = [row for row in rows if 0 <= row <= canvas.height - plate.height] or [0.0]
        places = [replace(plate, left=left, top=row) for row in inside]
        free = [place for place in places if not any(map(place.overlaps, taken))]
        taken.append((free or places)[0])
        taken[-1].draw(draw, text, size, colour)
    return np.asarray(canvas)


@dataclass(frozen=True)
class Plate:
    """Where a text stands, in pixels."""

    width: float
    height: float
    left: float = 0.0
    top: float = 0.0

    @classmethod
    def of(cls, text: str, size: float) -> "Plate":
        """Return a plate that is large enough, wherever."""
        return cls(_font(size).getlength(text) + size / 2, size * 1.35)

    def overlaps(self, other: "Plate") -> bool:
        """Return whether two plates share a pixel."""
        return (
            abs(2 * (self.left - other.left) + self.width - other.width) < self.width + other.width
            and abs(2 * (self.top - other.top) + self.height - other.height)
            < self.height + other.height
        )

    def draw(self, draw: ImageDraw.ImageDraw, text: str, size: float, colour: Colour) -> None:
        """Draw the plate and its text."""
        left, top = round(self.left), round(self.top)
        draw.rectangle(((left, top), (left + self.width, top + self.height)), fill=colour)
        middle = left + round(size / 4), top + round(self.height / 2)
        draw.text(middle, text, fill=INK, font=_font(size), anchor="lm")


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    """Return the font that comes with Pillow."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
    return font
