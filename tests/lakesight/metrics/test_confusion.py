"""The confusion matrix of pictures whose every pair one can see."""

import numpy as np

from lakesight.metrics import Confusion, DetectionEvaluator, Predictions, Truth

LABELS = ("cat", "dog")
LEFT, RIGHT, FAR = [0, 0, 10, 10], [100, 0, 110, 10], [200, 0, 210, 10]


def confusion(truth: Truth, found: Predictions, iou: float = 0.5) -> Confusion:
    evaluator = DetectionEvaluator(LABELS, confusion_iou=iou, confusion_confidence=0.3)
    evaluator.update(truth, found)
    return evaluator.result().confusion


def test_right_wrong_missed_and_invented() -> None:
    truth = Truth("a", np.array([0, 1, 1]), np.array([LEFT, RIGHT, [300, 0, 310, 10]], float))
    found = Predictions(
        "a",
        np.array([0, 0, 1, 1]),
        np.array([LEFT, RIGHT, FAR, [300, 0, 310, 10]], float),
        scores=np.array([0.9, 0.8, 0.7, 0.2]),  # the last is not confident enough
    )
    matrix = confusion(truth, found)
    assert matrix.labels == ("cat", "dog", "background")
    assert matrix.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert (matrix.iou, matrix.confidence) == (0.5, 0.3)
    np.testing.assert_allclose(matrix.normalised(), np.array([[1, 0, 0], [0.5, 0, 0.5], [0, 1, 0]]))


def test_the_larger_overlap_wins_and_each_object_is_used_once() -> None:
    truth = Truth("a", np.array([0, 1]), np.array([LEFT, [2, 0, 12, 10]], float))
    found = Predictions(  # the first fits the dog exactly and the cat by 2/3
        "a",
        np.array([0, 0]),
        np.array([[2, 0, 12, 10], [0, 0, 10, 9]], float),
        scores=np.array([0.5, 0.9]),
    )
    assert confusion(truth, found).counts.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_of_equal_overlaps_the_same_class_wins() -> None:
    truth = Truth("a", np.array([1, 0]), np.array([LEFT, LEFT], float))
    found = Predictions(
        "a", np.array([0, 1]), np.array([LEFT, LEFT], float), scores=np.array([0.9, 0.8])
    )
    assert confusion(truth, found).counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_the_overlap_decides() -> None:
    truth = Truth("a", np.array([0]), np.array([LEFT], float))
    found = Predictions("a", np.array([0]), np.array([[0, 0, 10, 4]], float), scores=np.ones(1))
    assert confusion(truth, found, 0.4).counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert confusion(truth, found, 0.5).counts.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_what_is_ignored_is_left_out_with_what_lies_on_it() -> None:
    truth = Truth(
        "a",
        np.array([0, 1]),
        np.array([[0, 0, 100, 100], RIGHT], float),
        crowd=np.array([True, False]),
        ignored=np.array([False, True]),
    )
    found = Predictions(  # two in the crowd, one on the ignored dog, one elsewhere
        "a",
        np.array([0, 1, 1, 1]),
        np.array([LEFT, [50, 50, 60, 60], RIGHT, FAR], float),
        scores=np.ones(4),
    )
    assert confusion(truth, found).counts.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
