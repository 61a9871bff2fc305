"""Accuracy, against scikit-learn."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from lakesight.errors import UserError
from lakesight.metrics import Bootstrap, ClassEvaluator

LABELS = tuple("abcdefgh")


def data(count: int = 200) -> tuple[list[int], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(LABELS), count)
    scores = rng.random((count, len(LABELS)))
    scores[np.arange(count), truth] += 0.4
    return list(range(count)), truth, scores


def evaluate() -> ClassEvaluator:
    evaluator = ClassEvaluator(LABELS)
    pictures, truth, scores = data()
    kinds = [{"half": str(picture % 2)} for picture in pictures]
    evaluator.update(pictures, truth, scores, kinds)
    return evaluator


def test_accuracy_is_scikit_learns() -> None:
    _, truth, scores = data()
    result = evaluate().result()
    named = scores.argmax(axis=1)
    assert result.top1 == pytest.approx(top_k_accuracy_score(truth, scores, k=1))
    assert result.top5 == pytest.approx(top_k_accuracy_score(truth, scores, k=5))
    assert result.mean_class_accuracy == pytest.approx(balanced_accuracy_score(truth, named))
    np.testing.assert_array_equal(result.confusion.counts, confusion_matrix(truth, named))
    assert result.confusion.labels == LABELS


def test_of_equal_scores_the_lower_class_is_named() -> None:
    evaluator = ClassEvaluator(LABELS)
    evaluator.update(["x", "y"], [0, 6], np.zeros((2, 8)))
    result = evaluator.result()
    assert (result.top1, result.top5) == (0.5, 0.5)


def test_who_names_no_class_is_not_among_the_best_five_of_three() -> None:
    evaluator = ClassEvaluator("abc")
    scores = np.zeros((3, 3))
    evaluator.update(["x", "y", "z"], [0, 1, 2], scores, named=[True, False, False])
    result = evaluator.result()
    assert (result.top1, result.top5) == (1 / 3, 1 / 3)
    assert result.mean_class_accuracy == 1 / 3
    assert not scores.any(), "the caller's scores stay as they are"


def test_shares_add_up_and_order_does_not_matter() -> None:
    pictures, truth, scores = data()
    parts = [ClassEvaluator(LABELS), ClassEvaluator(LABELS)]
    for part, rows in zip(parts, (slice(120, None), slice(0, 120)), strict=True):
        part.update(pictures[rows], truth[rows], scores[rows])
    parts[0].merge(parts[1])
    bootstrap = Bootstrap(resamples=50)
    assert parts[0].result(bootstrap).to_dict() == evaluate().result(bootstrap).to_dict()


def test_the_interval_is_that_of_drawing_pictures() -> None:
    _, truth, scores = data()
    bootstrap = Bootstrap(resamples=40, level=0.5, seed=2)
    right = scores.argmax(axis=1) == truth
    rows = np.concatenate(list(bootstrap.weights(200))).astype(int)
    drawn = [np.repeat(right, row).mean() for row in rows]
    interval = evaluate().result(bootstrap).top1_interval
    assert interval is not None
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(drawn, [0.25, 0.75]))
    assert interval.low < interval.high


def test_a_slice_is_an_evaluation_of_its_pictures() -> None:
    _, truth, scores = data()
    odd = evaluate().slices("half")["1"]
    assert odd.top1 == pytest.approx((scores[1::2].argmax(axis=1) == truth[1::2]).mean())
    assert odd.num_pictures == 100


def test_figures_are_json_and_text() -> None:
    result = evaluate().result(Bootstrap(resamples=5))
    json.dumps(result.to_dict(), allow_nan=False)
    assert f"top-1 {result.top1:.3f}" in result.table()
    nothing = ClassEvaluator(LABELS).result().to_dict()
    assert (nothing["top1"], nothing["accuracy"]["a"]) == (None, None)


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        ([8], np.zeros((1, 8)), "integers from 0 to 7"),
        ([0.5], np.zeros((1, 8)), "integers"),
        ([0, 1], np.zeros((1, 8)), "true_ids"),
        ([0], np.zeros((1, 7)), r"\(1, 8\)"),
        ([0], np.full((1, 8), np.nan), "'x' has NaN"),
    ],
)
def test_what_does_not_fit_is_refused(truth: Any, scores: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassEvaluator(LABELS).update(["x"], truth, scores)


def test_a_picture_counts_once() -> None:
    evaluator = evaluate()
    with pytest.raises(UserError, match="came again"):
        evaluator.update([3], [0], np.zeros((1, 8)))
    with pytest.raises(UserError, match="same labels"):
        evaluator.merge(ClassEvaluator(("a", "b")))
