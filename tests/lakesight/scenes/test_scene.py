"""Generated pictures: what the truth says, checked against the pixels and against itself."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.scenes import LABELS, NUM_KEYPOINTS, Scene, generate
from lakesight.scenes.background import (
    KINDS,
    TONES,
    Light,
    paint_background,
    random_background,
)
from lakesight.scenes.drawing import draw
from lakesight.scenes.layout import arrange
from lakesight.scenes.paint import COLOURS, TEXTURES

ROOT = Path(__file__).resolve().parents[3]
SIZES: tuple[int | tuple[int, int], ...] = (64, (320, 200), 320)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate(3, index, 192) for index in range(80)]


def digest(seed: int, index: int, size: int) -> str:
    scene = generate(seed, index, size)
    told = repr([(each.box_xyxy, each.rotated_box) for each in scene.objects])
    words = repr((scene.captions, scene.questions, scene.label))
    return hashlib.sha256(scene.pixels.tobytes() + (told + words).encode()).hexdigest()


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    code = "from tests.lakesight.scenes.test_scene import digest; print(digest(5, 7, 96))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest(5, 7, 96)
    assert len({digest(seed, index, 96) for seed in (5, 6) for index in (7, 8)}) == 4


@pytest.mark.parametrize("size", SIZES)
def test_every_scene_is_fair(size: int | tuple[int, int]) -> None:
    width, height = (size, size) if isinstance(size, int) else size
    for index in range(15):
        scene = generate(1, index, size)
        assert scene.pixels.shape == (height, width, 3)
        assert scene.pixels.dtype == np.uint8
        assert 3 <= len(scene.objects) <= 10
        assert all(0.25 <= each.visible_fraction <= 1 for each in scene.objects)
        largest, second = sorted((each.area_px for each in scene.objects), reverse=True)[:2]
        assert largest >= 1.5 * second
        (main,) = [each for each in scene.objects if each.area_px == largest]
        assert scene.label == main.label
        assert scene.labels == tuple(
            label for label in LABELS if label in {each.label for each in scene.objects}
        )


def test_boxes_are_tight_around_what_is_visible(scenes: list[Scene]) -> None:
    for scene in scenes:
        for found in scene.objects:
            mask = scene.mask(found)
            rows, columns = np.nonzero(mask)
            tight = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert found.box_xyxy == tight
            assert found.area_px == mask.sum()


@pytest.mark.parametrize("index", range(6))
def test_the_masks_are_what_was_painted(index: int) -> None:
    rng = np.random.default_rng(index)
    background = random_background(rng)
    backdrop = paint_background(rng, background, 200, 240)
    arrangement = arrange(rng, 200, 240, background.tone)
    light = Light(np.ones_like(backdrop), 0.0)
    nothing = draw(rng, backdrop, light, [], [])
    drawing = draw(rng, backdrop, light, arrangement.figures, arrangement.stamps)
    changed = (drawing.pixels != nothing.pixels).any(axis=2)
    covered = drawing.instances > 0
    assert not (covered & ~changed).any()
    near = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), dtype=np.uint8)) > 0
    assert not (changed & ~near).any()
    assert (changed & ~covered).sum() < 0.3 * covered.sum()
    total = sum(drawing.mask(found).astype(int) for found in drawing.objects)
    assert np.array_equal(total, covered)  # each visible pixel belongs to one object


def test_keypoints_lie_on_their_object_or_under_what_hides_it(scenes: list[Scene]) -> None:
    seen = set()
    for scene in scenes:
        for found in scene.objects:
            assert found.keypoints.shape == (NUM_KEYPOINTS, 3)
            far = cv2.distanceTransform((~scene.mask(found)).astype(np.uint8), cv2.DIST_L2, 5)
            for x, y, visibility in found.keypoints.tolist():
                seen.add(visibility)
                top = scene.instances[int(y), int(x)]
                if visibility == 2:
                    assert top <= found.instance_id
                    assert far[int(y), int(x)] < 4 or found.visible_fraction < 1
                elif visibility == 1:
                    assert top > found.instance_id
                else:
                    assert (x, y) == (0, 0)
            assert (found.keypoints[:, 2] > 0).any()
    assert seen == {0, 1, 2}


def test_plain_objects_have_the_colour_that_they_are_called(scenes: list[Scene]) -> None:
    names, palette = list(COLOURS), np.array(list(COLOURS.values()))
    checked = 0
    for scene in scenes:
        for found in scene.objects:
            inside = cv2.erode(scene.mask(found).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            if found.texture == "plain" and inside.any():
                colour = np.median(scene.pixels[inside], axis=0)
                nearest = np.linalg.norm(palette - colour, axis=1).argmin()
                assert names[nearest] == found.colour
                checked += 1
    assert checked > 100


def test_rotated_boxes_hold_the_visible_pixels(scenes: list[Scene]) -> None:
    for scene in scenes:
        for found in scene.objects:
            x, y, width, height, angle = found.rotated_box
            rows, columns = np.nonzero(scene.mask(found))
            right, down = columns + 0.5 - x, rows + 0.5 - y
            along = np.abs(right * np.cos(angle) + down * np.sin(angle))
            across = np.abs(down * np.cos(angle) - right * np.sin(angle))
            assert along.max() <= width / 2 + 0.75
            assert across.max() <= height / 2 + 0.75


def test_scenes_are_varied(scenes: list[Scene]) -> None:
    objects = [found for scene in scenes for found in scene.objects]
    assert {found.label for found in objects} == set(LABELS)
    assert {found.colour for found in objects} == set(COLOURS)
    assert {found.texture for found in objects} == set(TEXTURES)
    assert {scene.label for scene in scenes} == set(LABELS)
    assert {scene.background.tone for scene in scenes} == set(TONES)
    assert {scene.background.kind for scene in scenes} == set(KINDS)
    assert {len(scene.objects) for scene in scenes} == set(range(3, 11))
    hidden = sum(found.visible_fraction < 0.95 for found in objects)
    assert 0.1 < hidden / len(objects) < 0.6


@pytest.mark.parametrize("size", [63, (64, 5000), 0])
def test_a_size_that_cannot_be_drawn_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(UserError, match="64 to 4096 px"):
        generate(0, 0, size)
