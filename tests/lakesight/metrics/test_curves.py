"""Precision, recall and F1 over confidence, against scikit-learn on the decisions of matching."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from lakesight.metrics import DetectionEvaluator, DetectionResult, Predictions, Truth

LABELS = ("cat", "dog", "bus")


def result(seed: int) -> tuple[DetectionResult, np.ndarray, np.ndarray]:
    """Return figures where class 0's detections sit on their truth or on nothing.

    And what is true and how much it scores, as scikit-learn wants it: a truth without a detection
    scores less than every confidence.
    """
    rng = np.random.default_rng(seed)
    evaluator = DetectionEvaluator(LABELS)
    flags, scores = [], []
    for picture in range(30):
        place = np.arange(6.0)[:, None] * 40 + [0, 0, 20, 20]
        seen, there = rng.random(6) < 0.7, rng.random(6) < 0.5
        confidence = np.round(rng.random(6) * 0.5 + 0.5 * there * rng.random(6), 2)
        zeros = np.zeros(6, int)
        evaluator.update(
            Truth(picture, zeros[there], place[there]),
            Predictions(picture, zeros[seen], place[seen], scores=confidence[seen]),
        )
        flags.append(there[seen | there])
        scores.append(np.where(seen, confidence, -1)[seen | there])
    return evaluator.result(), np.concatenate(flags), np.concatenate(scores)


@pytest.mark.parametrize("seed", range(3))
def test_curves_are_those_of_the_decisions(seed: int) -> None:
    figures, flags, scores = result(seed)
    curves = figures.curves
    for place in (0, 10, 25, 50, 60):
        named = scores >= curves.confidences[place]
        precision, recall, f1, _ = precision_recall_fscore_support(
            flags, named, average="binary", zero_division=1
        )
        assert curves.precision[0, place] == pytest.approx(precision)
        assert curves.recall[0, place] == pytest.approx(recall)
        assert curves.f1[0, place] == pytest.approx(f1)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_confidence_is_that_of_the_best_f1(seed: int) -> None:
    figures, flags, scores = result(seed)
    tried = np.unique(scores[scores >= 0])
    f1 = [
        precision_recall_fscore_support(flags, scores >= one, average="binary")[2] for one in tried
    ]
    best = figures.classes[0].best
    assert best.f1 == pytest.approx(max(f1))
    assert f1[int(np.flatnonzero(tried == best.confidence)[0])] == pytest.approx(max(f1))
    assert best.f1 == pytest.approx(2 / (1 / best.precision + 1 / best.recall))


def test_the_confidence_of_all_classes_is_the_best_of_their_mean() -> None:
    curves = result(0)[0].curves
    place = int(np.flatnonzero(curves.confidences == curves.best_confidence)[0])
    assert curves.f1[0, place] == curves.f1[0].max()
    assert np.isnan(curves.f1[1:]).all()  # no truth, no curve


def test_a_class_without_truth_has_no_operating_point() -> None:
    figures = result(0)[0]
    assert np.isnan(figures.classes[1].best.confidence)
    assert figures.curves.to_dict()["f1"][1][0] is None
