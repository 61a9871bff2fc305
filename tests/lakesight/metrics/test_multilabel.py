"""Average precision and F1 of any number of classes, against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from lakesight.errors import UserError
from lakesight.metrics import Bootstrap, MultiLabelEvaluator

LABELS = ("sky", "sea", "boat", "never")


def data(count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and scores of one decimal: many are equal. No picture has the last class."""
    rng = np.random.default_rng(0)
    truth = rng.random((count, 4)) < (0.6, 0.3, 0.05, 0)
    return truth, np.round(np.clip(rng.random((count, 4)) * 0.8 + 0.3 * truth, 0, 1), 1)


def evaluate() -> MultiLabelEvaluator:
    evaluator = MultiLabelEvaluator(LABELS)
    truth, scores = data()
    kinds = [{"half": str(number % 2)} for number in range(150)]
    evaluator.update(range(150), truth, scores, kinds)
    return evaluator


def test_precision_and_f1_are_scikit_learns() -> None:
    truth, scores = data()
    result = evaluate().result(threshold=0.6)
    ap = average_precision_score(truth[:, :3], scores[:, :3], average=None)
    f1 = f1_score(truth[:, :3], scores[:, :3] >= 0.6, average=None)
    np.testing.assert_allclose(list(result.ap.values()), [*ap, np.nan])
    np.testing.assert_allclose(list(result.f1.values()), [*f1, np.nan])
    assert result.map == pytest.approx(ap.mean())
    assert result.macro_f1 == pytest.approx(f1.mean())
    assert result.micro_f1 == pytest.approx(f1_score(truth, scores >= 0.6, average="micro"))
    assert result.num_truth == dict(zip(LABELS, truth.sum(axis=0).tolist(), strict=True))


def test_the_interval_is_that_of_drawing_pictures() -> None:
    truth, scores = data()
    bootstrap = Bootstrap(resamples=30, level=0.6)
    drawn = []
    for rows in bootstrap.weights(150):
        for row in rows.astype(int):
            some, said = np.repeat(truth, row, axis=0), np.repeat(scores, row, axis=0)
            there = some.any(axis=0)
            drawn.append(average_precision_score(some[:, there], said[:, there]))
    interval = evaluate().result(bootstrap=bootstrap).map_interval
    assert interval is not None
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(drawn, [0.2, 0.8]))


def test_shares_add_up_and_slices_are_shares() -> None:
    truth, scores = data()
    parts = [MultiLabelEvaluator(LABELS), MultiLabelEvaluator(LABELS)]
    for part, first in zip(parts, (1, 0), strict=True):
        part.update(range(first, 150, 2), truth[first::2], scores[first::2])
    odd = parts[0].result().to_dict()
    parts[0].merge(parts[1])
    np.testing.assert_equal(parts[0].result().to_dict(), evaluate().result().to_dict())
    np.testing.assert_equal(evaluate().slices("half")["1"].to_dict(), odd)


def test_figures_are_json_and_text() -> None:
    result = evaluate().result(bootstrap=Bootstrap(resamples=5))
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["ap"]["never"] is None
    assert f"mAP {result.map:.3f}" in result.table()
    assert MultiLabelEvaluator(LABELS).result().to_dict()["map"] is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"truth must have the shape \(1, 4\)"):
        MultiLabelEvaluator(LABELS).update(["x"], [0], np.zeros((1, 4)))
    with pytest.raises(UserError, match="finite"):
        MultiLabelEvaluator(LABELS).update(["x"], np.zeros((1, 4)), np.full((1, 4), np.inf))
