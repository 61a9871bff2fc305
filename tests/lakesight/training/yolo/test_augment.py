"""Augmentation moves pictures and truth together: shown on rectangles, drawn as they say."""

import colorsys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lakesight.training.yolo.augment import (
    Augmentation,
    affine,
    augmented,
    classified,
    letterboxed,
    mixed,
    pasted,
)
from lakesight.training.yolo.sample import Sample, quads_to_xywhr, xywhr_to_quads

SIDE = 128


def sample(seed: int, width: int = 160, height: int = 96) -> Sample:
    """Return three rectangles, each of a colour of its own; class 0 is red, 1 green, 2 blue."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 40, np.uint8)
    instances = np.zeros((height, width), np.uint16)
    boxes = []
    for number in range(3):
        left = number * width // 3 + int(rng.integers(2, 8))
        top = int(rng.integers(4, height // 2))
        right, bottom = left + int(rng.integers(20, 36)), top + int(rng.integers(20, 36))
        image[top:bottom, left:right] = 40
        image[top:bottom, left:right, number] = 250
        instances[top:bottom, left:right] = number + 1
        boxes.append((left, top, right, bottom))
    boxes_xyxy = np.array(boxes, np.float32)
    x0, y0, x1, y1 = boxes_xyxy.T
    quads = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).reshape(-1, 4, 2)
    there = np.full((3, 4, 1), 2, np.float32)
    keypoints = np.concatenate([quads, there], -1)
    flips = (0, 1, 2, 3)  # a corner stays that corner, as in `quads`
    return Sample(image, boxes_xyxy, np.arange(3), instances, keypoints, quads, flips)


def seen(found: Sample) -> dict[int, tuple[float, float, float, float]]:
    """Return by class the box of what the map of instances shows."""
    assert found.instances is not None
    boxes = {}
    for number, class_id in enumerate(found.class_ids.tolist(), 1):
        y, x = np.nonzero(found.instances == number)
        if len(x):
            boxes[class_id] = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    return boxes


def assert_truth_fits(found: Sample) -> None:
    """Boxes, maps, colours, keypoints and corners still tell the same story."""
    assert found.instances is not None
    assert found.keypoints is not None
    assert found.quads is not None
    for number, class_id in enumerate(found.class_ids.tolist(), 1):
        pixels = found.image[found.instances == number]
        if len(pixels):
            assert pixels.mean(0).argmax() == class_id
    left_top, right_bottom = found.quads.min(1), found.quads.max(1)
    inside = np.clip(np.concatenate([left_top, right_bottom], 1), 0, SIDE)
    np.testing.assert_allclose(found.boxes_xyxy, inside, atol=1e-2)
    there = found.keypoints[..., 2] > 0
    np.testing.assert_allclose(found.keypoints[..., :2][there], found.quads[there], atol=1e-3)


def test_a_letterboxed_picture_keeps_everything() -> None:
    found = letterboxed(sample(0), SIDE)
    assert len(found) == 3
    assert_truth_fits(found)
    for class_id, box in seen(found).items():
        np.testing.assert_allclose(found.boxes_xyxy[class_id], box, atol=1.5)


@pytest.mark.parametrize("seed", range(6))
def test_the_truth_moves_with_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = Augmentation(
        mosaic=1, mixup=0, hue=0, saturation=0, value=0, degrees=15, shear=5, flip_vertical=0.5
    )
    found = augmented(sample(seed), lambda: sample(int(rng.integers(99))), SIDE, config, rng)
    assert found.image.shape == (SIDE, SIDE, 3)
    assert_truth_fits(found)
    for class_id, box in seen(found).items():
        mine = found.boxes_xyxy[found.class_ids == class_id]
        near = (mine[:, :2] <= np.array(box[:2]) + 2).all(1) & (
            mine[:, 2:] >= np.array(box[2:]) - 2
        ).all(1)
        assert near.any(), "what is seen of an object lies in its box"


def test_the_same_seed_gives_the_same_picture() -> None:
    def once() -> Sample:
        rng = np.random.default_rng([7, 1, 3])
        config = Augmentation(mixup=1, copy_paste=1)
        return augmented(sample(3), lambda: sample(int(rng.integers(99))), SIDE, config, rng)

    one, other = once(), once()
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)


def test_mirroring_twice_is_nothing() -> None:
    start = letterboxed(sample(1), SIDE)
    mirror = np.array([[-1.0, 0, SIDE], [0, 1, 0], [0, 0, 1]])
    found = affine(affine(start, SIDE, mirror), SIDE, mirror)
    np.testing.assert_array_equal(found.image, start.image)
    np.testing.assert_allclose(found.boxes_xyxy, start.boxes_xyxy, atol=1e-3)


FLIPS_ONLY = Augmentation(
    mosaic=0, translate=0, scale=0, hue=0, saturation=0, value=0, flip_horizontal=1
)


def only_flipped(start: Sample, config: Augmentation = FLIPS_ONLY) -> Sample:
    return augmented(start, lambda: start, SIDE, config, np.random.default_rng(0))


@pytest.mark.parametrize("direction", ["flip_horizontal", "flip_vertical"])
def test_in_a_mirror_left_is_right(direction: str) -> None:
    """A mirror swaps left and right of whoever is in it, whichever way it hangs."""
    start = replace(sample(1), flip_indices=(1, 0, 3, 2))
    config = FLIPS_ONLY.model_copy(update={"flip_horizontal": 0, direction: 1})
    found, before = only_flipped(start, config), letterboxed(start, SIDE)
    assert found.keypoints is not None
    assert before.keypoints is not None
    axis = 0 if direction == "flip_horizontal" else 1
    np.testing.assert_array_equal(found.image, np.flip(before.image, 1 - axis))
    expected = before.keypoints[:, [1, 0, 3, 2]]
    expected[..., axis] = SIDE - expected[..., axis]
    np.testing.assert_allclose(found.keypoints, expected, atol=1e-3)


def test_keypoints_that_nobody_pairs_are_not_mirrored() -> None:
    start = replace(sample(1), flip_indices=None)
    found = only_flipped(start)
    np.testing.assert_array_equal(found.image, letterboxed(start, SIDE).image)
    without = replace(start, keypoints=None)
    mirrored = only_flipped(without)
    np.testing.assert_array_equal(mirrored.image, letterboxed(start, SIDE).image[:, ::-1])


def test_what_leaves_the_picture_is_dropped() -> None:
    start = letterboxed(sample(2), SIDE)
    away = np.array([[1.0, 0, 0.9 * SIDE], [0, 1, 0], [0, 0, 1]])
    found = affine(start, SIDE, away)
    assert len(found) < 3
    assert_truth_fits(found)


def test_pasted_objects_lie_on_top() -> None:
    below, above = letterboxed(sample(4), SIDE), letterboxed(sample(5), SIDE)
    found = pasted(below, above)
    assert found.instances is not None
    assert above.instances is not None
    top = above.instances > 0
    np.testing.assert_array_equal(found.image[top], above.image[top])
    assert_truth_fits(found)


@pytest.mark.parametrize("name", ["hue", "saturation", "value"])
def test_colours_change_by_what_is_asked_and_nothing_else(name: str) -> None:
    """By Python's own `colorsys`; of a colour that has room to both sides."""
    before = (0.55, 0.5, 0.6)
    colour = [round(255 * part) for part in colorsys.hsv_to_rgb(*before)]
    start = Sample(np.full((SIDE, SIDE, 3), colour, np.uint8))
    config = FLIPS_ONLY.model_copy(update={"flip_horizontal": 0, name: 0.25})
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pixels = augmented(start, lambda: start, SIDE, config, rng).image.reshape(-1, 3)
        assert (pixels == pixels[0]).all()
        found.append(colorsys.rgb_to_hsv(*(pixels[0] / 255)))
    changed = ["hue", "saturation", "value"].index(name)
    for place, was in enumerate(before):
        now = np.array([one[place] for one in found])
        reach = 0.25 if name == "hue" else 0.25 * was
        if place == changed:
            assert (np.abs(now - was) <= reach + 0.03).all()
            assert now.min() < was - reach / 2
            assert now.max() > was + reach / 2
        else:
            np.testing.assert_allclose(now, was, atol=0.03)


def test_a_mix_shows_both_pictures_and_has_the_objects_of_both() -> None:
    below, above = letterboxed(sample(4), SIDE), letterboxed(sample(5), SIDE)
    found = mixed(below, above, 0.25)
    wanted = 0.25 * below.image.astype(float) + 0.75 * above.image
    np.testing.assert_allclose(found.image, wanted, atol=1)
    both = np.concatenate([below.boxes_xyxy, above.boxes_xyxy])
    np.testing.assert_array_equal(found.boxes_xyxy, both)
    assert found.class_ids.tolist() == [0, 1, 2, 0, 1, 2]


def test_mixing_is_by_chance() -> None:
    start, other = sample(4), sample(5)
    plain = FLIPS_ONLY.model_copy(update={"flip_horizontal": 0})
    mix = plain.model_copy(update={"mixup": 1})
    counts = {
        chance: len(augmented(start, lambda: other, SIDE, config, np.random.default_rng(0)))
        for chance, config in ((0, plain), (1, mix))
    }
    assert counts == {0: 3, 1: 6}


def test_a_classified_picture_keeps_its_class() -> None:
    one = Sample(sample(0).image, class_ids=np.array([2]))
    found = classified(one, 64, Augmentation(), np.random.default_rng(0))
    assert found.image.shape == (64, 64, 3)
    assert found.class_ids.tolist() == [2]


def test_corners_and_angle_say_the_same() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.uniform(20, 90, (40, 2)), rng.uniform(3, 30, (40, 2)), rng.uniform(-4, 4, (40, 1))]
    xywhr = np.concatenate(parts, 1).astype(np.float32)
    again = quads_to_xywhr(xywhr_to_quads(xywhr))
    assert (again[:, 4] >= -np.pi / 4).all()
    assert (again[:, 4] < 3 * np.pi / 4 + 1e-6).all()
    quads, other = xywhr_to_quads(xywhr), xywhr_to_quads(again)
    for one, two in zip(quads, other, strict=True):
        distances = np.linalg.norm(one[:, None] - two[None], axis=-1)
        assert distances.min(1).max() < 1e-2, "the same four corners, from whichever on"


def test_other_corners_get_the_smallest_rectangle_around_them() -> None:
    """As OpenCV's `minAreaRect` finds it: of trapezoids, and of rectangles that a shear moved."""
    rng = np.random.default_rng(0)
    upright = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    maps = np.eye(2) + rng.uniform(-0.4, 0.4, (40, 2, 2))
    quads = (upright @ maps + rng.uniform(-0.1, 0.1, (40, 4, 2))) * 60 + 100
    found = quads_to_xywhr(quads.astype(np.float32))
    for box, corners in zip(found, quads.astype(np.float32), strict=True):
        _, (width, height), _ = cv2.minAreaRect(corners)
        assert box[2] * box[3] == pytest.approx(width * height, rel=0.011)
        along = np.array([np.cos(box[4]), np.sin(box[4])])
        across = np.array([-along[1], along[0]])
        for direction, side in ((along, box[2]), (across, box[3])):
            assert np.abs((corners - box[:2]) @ direction).max() == pytest.approx(
                side / 2, abs=0.01
            )
