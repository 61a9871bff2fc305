"""Suppression, against a slow reference and against OpenCV's."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from lakesight.models.nms import iou_matrix, nms

Array = npt.NDArray[np.float32]


def slow_iou(first: Array, second: Array) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    overlap = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(overlap / (sum(areas) - overlap)) if sum(areas) > overlap else 0.0


def slow_nms(
    boxes: Array, scores: Array, class_ids: npt.NDArray[np.int32], threshold: float
) -> list[int]:
    """Greedy suppression as the textbook writes it."""
    kept: list[int] = []
    for one in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        rivals = (other for other in kept if class_ids[other] == class_ids[one])
        if all(slow_iou(boxes[one], boxes[other]) <= threshold for other in rivals):
            kept.append(one)
    return kept


def crowd(seed: int, count: int, num_classes: int) -> tuple[Array, Array, npt.NDArray[np.int32]]:
    """Return overlapping boxes; a tenth of the scores are equal to another's."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 50, (count, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0.01, 1, count).astype(np.float32)
    scores[: count // 10] = scores[count // 10 : 2 * (count // 10)]
    return boxes, scores, rng.integers(0, num_classes, count).astype(np.int32)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(("count", "num_classes"), [(0, 1), (1, 1), (40, 1), (200, 3), (300, 80)])
def test_the_slow_reference_keeps_the_same(count: int, num_classes: int, threshold: float) -> None:
    boxes, scores, class_ids = crowd(count, count, num_classes)
    kept = nms(boxes, scores, class_ids, threshold, max_kept=1000)
    assert kept.tolist() == slow_nms(boxes, scores, class_ids, threshold)


@pytest.mark.parametrize("seed", range(5))
def test_opencv_keeps_the_same(seed: int) -> None:
    boxes, scores, class_ids = crowd(seed, 150, 4)
    scores = np.unique(np.random.default_rng(seed).uniform(0.1, 1, 150)).astype(np.float32)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    theirs = cv2.dnn.NMSBoxesBatched(
        xywh.tolist(), scores.tolist(), class_ids.tolist(), score_threshold=0.0, nms_threshold=0.5
    )
    ours = nms(boxes, scores, class_ids, 0.5, max_kept=1000)
    assert set(ours.tolist()) == set(np.asarray(theirs).ravel().tolist())


def test_only_the_best_so_many_are_kept() -> None:
    boxes, scores, class_ids = crowd(0, 200, 3)
    everything = nms(boxes, scores, class_ids, 0.5, max_kept=1000)
    assert nms(boxes, scores, class_ids, 0.5, max_kept=7).tolist() == everything[:7].tolist()


def test_equal_boxes_of_two_classes_both_stay() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.9], np.float32)
    kept = nms(boxes, scores, np.array([1, 2, 1], np.int32), 0.5, max_kept=10)
    assert kept.tolist() == [1, 2]


def test_overlaps_of_empty_and_inverted_boxes_are_none() -> None:
    boxes = np.array([[0, 0, 0, 0], [5, 5, 1, 1], [0, 0, 10, 10]], np.float32)
    assert iou_matrix(boxes, boxes).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
