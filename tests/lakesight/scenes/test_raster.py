"""What is painted, against Pillow drawing the same outlines sixteen times as large."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from lakesight.masks import Mask
from lakesight.scenes.figure import Figure
from lakesight.scenes.paint import TEXTURES, Paint
from lakesight.scenes.raster import paint_over, rasterise
from lakesight.scenes.shapes import LABELS

FINE = 16
RED = Paint("red", "plain", (255.0, 0.0, 0.0), 8.0, (0.2, 0.4))


def by_pillow(figure: Figure, width: int, height: int) -> Mask:
    canvas = Image.new("L", (width * FINE, height * FINE))
    drawing = ImageDraw.Draw(canvas)
    for number, ring in enumerate(figure.rings()):
        drawing.polygon([tuple(p) for p in (ring * FINE - 0.5).tolist()], fill=255 * (number == 0))
    shares = np.asarray(canvas).reshape(height, FINE, width, FINE).mean(axis=(1, 3))
    return np.asarray(shares >= 127.5)


def on_a_canvas(figure: Figure, width: int, height: int) -> Mask:
    mask = np.zeros((height, width), dtype=bool)
    part = rasterise(figure).clipped(height, width)
    mask[part.window] = part.solid
    return mask


@pytest.mark.parametrize("scale_px", [9.0, 40.0])
@pytest.mark.parametrize("label", LABELS)
def test_a_mask_is_what_pillow_draws(label: str, scale_px: float) -> None:
    figure = Figure(label, 48.3, 51.8, scale_px, 0.7, RED)
    ours, theirs = on_a_canvas(figure, 100, 104), by_pillow(figure, 100, 104)
    outline = np.zeros(ours.shape, dtype=np.uint8)
    for ring in figure.rings():
        cv2.polylines(outline, [np.floor(ring).astype(np.int32)], isClosed=True, color=1)
    near = cv2.dilate(outline, np.ones((3, 3), dtype=np.uint8)) > 0
    assert not ((ours != theirs) & ~near).any()
    assert (ours != theirs).sum() <= 0.03 * near.sum()
    assert ours.sum() == pytest.approx(scale_px**2, rel=0.1)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (60, 30), (-3, 30), (30, 63), (-200, 30), (30, 300)])
def test_a_shape_beyond_the_border_is_cut(x: float, y: float) -> None:
    figure = Figure("star", x, y, 30.0, 0.1, RED)
    height, width = 60, 60
    whole = on_a_canvas(replace(figure, x=x + 300, y=y + 300), 700, 700)
    assert np.array_equal(on_a_canvas(figure, width, height), whole[300:360, 300:360])
    picture = np.zeros((height, width, 3), dtype=np.float32)
    paint_over(picture, figure, rasterise(figure))
    inside = on_a_canvas(figure, width, height)
    assert (picture[inside][:, 0] > 127).all()
    assert (picture[~inside][:, 0] < 129).all()


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_shows_both_colours(texture: str) -> None:
    paint = Paint("red", texture, (255.0, 0.0, 0.0), 10.0, (0.1, 0.7))
    picture = np.zeros((100, 100, 3), dtype=np.float32)
    figure = Figure("square", 50.0, 50.0, 60.0, 0.4, paint)
    paint_over(picture, figure, rasterise(figure))
    middle = picture[35:65, 35:65].reshape(-1, 3)
    second = (np.abs(middle - paint.accent).max(axis=1) < 1).mean()
    first = (np.abs(middle - paint.rgb).max(axis=1) < 1).mean()
    assert first > 0.3
    assert (second > 0.1) == (texture != "plain")
    assert first + second > (0.99 if texture == "plain" else 0.6)
