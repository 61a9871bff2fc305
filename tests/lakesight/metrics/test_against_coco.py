"""All of COCO's numbers, against faster-coco-eval (C++) on random data full of hard cases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakesight.metrics import DetectionEvaluator, Task, load_coco, load_coco_results
from tests.coco_data import IOU_TYPES, for_task, random_coco, reference, write

NUM_STATS = {"box": 12, "mask": 12, "keypoints": 10}
Content = tuple[dict[str, Any], list[dict[str, Any]]]


def random_content(seed: int, task: Task, **options: Any) -> Content:
    return for_task(*random_coco(np.random.default_rng(seed), **options), task)


def evaluated(folder: Path, content: Content, task: Task, **options: Any) -> DetectionEvaluator:
    truth_path, found_path = write(folder, *content)
    known = load_coco(truth_path, task, key="id")
    evaluator = DetectionEvaluator(known.labels, task, **options)
    evaluator.update(known.truths, load_coco_results(found_path, known, task))
    return evaluator


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", IOU_TYPES)
def test_every_number_is_cocos(task: Task, seed: int, tmp_path: Path) -> None:
    content = random_content(seed, task, ties=seed % 2 == 0)
    expected = reference(*content, task).stats[: NUM_STATS[task]]
    assert np.ptp(expected) > 0.1  # neither trivial nor hopeless
    stats = evaluated(tmp_path, content, task).result().coco_stats()
    np.testing.assert_allclose(stats, expected, rtol=0, atol=1e-9)


def test_many_classes_are_cocos(tmp_path: Path) -> None:
    content = random_content(7, "box", num_pictures=40, num_classes=80)
    expected = reference(*content, "box").stats[:12]
    stats = evaluated(tmp_path, content, "box").result().coco_stats()
    np.testing.assert_allclose(stats, expected, rtol=0, atol=1e-9)


def test_other_keypoints_with_sigmas_of_their_own(tmp_path: Path) -> None:
    content = random_content(5, "keypoints", num_keypoints=4)
    sigmas = (0.1, 0.05, 0.2, 0.08)
    expected = reference(*content, "keypoints", sigmas).stats[:10]
    stats = evaluated(tmp_path, content, "keypoints", sigmas=sigmas).result().coco_stats()
    np.testing.assert_allclose(stats, expected, rtol=0, atol=1e-9)


def test_detections_with_a_box_have_its_area(tmp_path: Path) -> None:
    truth, found = random_coco(np.random.default_rng(9))
    expected = reference(truth, found, "keypoints").stats[:10]
    stats = evaluated(tmp_path, (truth, found), "keypoints").result().coco_stats()
    np.testing.assert_allclose(stats, expected, rtol=0, atol=1e-9)


def test_each_class_and_its_curve_are_cocos(tmp_path: Path) -> None:
    content = random_content(11, "box")
    precision = reference(*content, "box").eval["precision"]  # (T, R, K, A, M), -1 without truth
    expected = np.where(precision < 0, np.nan, precision)[:, :, :, :, 2]
    result = evaluated(tmp_path, content, "box").result()
    np.testing.assert_allclose(
        [one.ap for one in result.classes], expected[..., 0].mean(axis=(0, 1)), atol=1e-9
    )
    np.testing.assert_allclose(
        [one.ap50 for one in result.classes], expected[0, ..., 0].mean(axis=0), atol=1e-9
    )
    np.testing.assert_allclose(
        [list(one.ap_by_size.values()) for one in result.classes],
        expected[..., 1:].mean(axis=(0, 1)),
        atol=1e-9,
    )
    np.testing.assert_allclose(result.curves.precision_at_recall, expected[0, ..., 0].T, atol=1e-9)


def test_rotated_boxes_that_are_upright_are_boxes(tmp_path: Path) -> None:
    truth, found = random_coco(np.random.default_rng(3))
    for one in (*truth["annotations"], *found):
        x, y, width, height = one["bbox"]
        one["obb"] = [x + width / 2, y + height / 2, width, height, 0.0]
    expected = evaluated(tmp_path, (truth, found), "box").result()
    stats = evaluated(tmp_path, (truth, found), "rotated").result().coco_stats()
    np.testing.assert_allclose(stats, expected.coco_stats(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("turn", [0.7, np.pi / 2, -3.0])
def test_turning_everything_changes_nothing(tmp_path: Path, turn: float) -> None:
    rng = np.random.default_rng(3)
    truth, found = random_coco(rng)
    cos, sin = np.cos(turn), np.sin(turn)
    for one in (*truth["annotations"], *found):
        # not whole numbers: rounding would decide overlaps of exactly a threshold
        one["bbox"] = (np.array(one["bbox"]) + rng.uniform(0, 1, 4)).tolist()
        x, y, width, height = one["bbox"]
        across, down = x + width / 2, y + height / 2
        centre = [across * cos - down * sin, across * sin + down * cos]
        one["obb"] = [*centre, width, height, turn]
    expected = evaluated(tmp_path, (truth, found), "box").result()
    stats = evaluated(tmp_path, (truth, found), "rotated").result().coco_stats()
    np.testing.assert_allclose(stats, expected.coco_stats(), rtol=0, atol=1e-9)
