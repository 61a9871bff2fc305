"""Weighing pictures must equal judging the drawn ones anew."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from lakesight.metrics import Bootstrap, DetectionEvaluator, Predictions, Truth
from lakesight.metrics.bootstrap import Interval

LABELS = ("cat", "dog", "bus")


def pictures(count: int = 20) -> list[tuple[Truth, Predictions]]:
    """Return pictures with crowds and ignored truth; scores differ."""
    rng = np.random.default_rng(3)
    pairs = []
    for number in range(count):
        size = int(rng.integers(0, 8))
        corner = rng.uniform(0, 200, (size, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 120, (size, 2))], axis=1)
        ids = rng.integers(0, 2 + number % 2, size)
        twice = np.repeat(boxes, 2, axis=0)
        moved = twice + rng.uniform(-8, 8, (2 * size, 1))
        crowd, ignored = rng.random((2, size)) < 0.1
        truth = Truth(number, ids, boxes, crowd=crowd, ignored=ignored)
        found = Predictions(number, np.repeat(ids, 2), moved, scores=rng.random(2 * size))
        pairs.append((truth, found))
    return pairs


def evaluate(pairs: list[tuple[Truth, Predictions]]) -> DetectionEvaluator:
    evaluator = DetectionEvaluator(LABELS)
    for truth, found in pairs:
        evaluator.update(truth, found)
    return evaluator


def recomputed(pairs: list[tuple[Truth, Predictions]], bootstrap: Bootstrap) -> list[list[float]]:
    """Return map, map50, map75 and each class's AP and AP50 of every draw, matched anew."""
    figures = []
    for weights in bootstrap.weights(len(pairs)):
        for row in weights.astype(int):
            drawn = [pair for pair, times in zip(pairs, row, strict=True) for _ in range(times)]
            copies = [
                (replace(truth, picture=number), replace(found, picture=number))
                for number, (truth, found) in enumerate(drawn)
            ]
            result = evaluate(copies).result()
            per_class = [*(one.ap for one in result.classes), *(one.ap50 for one in result.classes)]
            figures.append([result.map, result.map50, result.map75, *per_class])
    return figures


def test_intervals_are_those_of_judging_every_draw_anew() -> None:
    bootstrap = Bootstrap(resamples=25, level=0.8, seed=1)
    expected = np.array(recomputed(pictures(), bootstrap))
    intervals = evaluate(pictures()).result(bootstrap).intervals
    assert intervals is not None
    low, high = np.quantile(expected, [0.1, 0.9], axis=0)
    got = (intervals.map, intervals.map50, intervals.map75, *intervals.ap, *intervals.ap50)
    np.testing.assert_allclose([one.low for one in got], low, atol=1e-9)
    np.testing.assert_allclose([one.high for one in got], high, atol=1e-9)
    assert (high - low > 0.01).all()


def test_a_seed_gives_the_same_intervals_in_any_order() -> None:
    first = evaluate(pictures()).result(Bootstrap(resamples=100))
    second = evaluate(pictures()[::-1]).result(Bootstrap(resamples=100))
    other = evaluate(pictures()).result(Bootstrap(resamples=100, seed=1))
    assert first.intervals == second.intervals
    assert first.intervals is not None
    assert other.intervals is not None
    assert first.intervals.map != other.intervals.map
    assert first.intervals.map.low < first.map < first.intervals.map.high


def test_intervals_stand_in_json_and_text() -> None:
    result = evaluate(pictures()).result(Bootstrap(resamples=20))
    assert result.intervals is not None
    plain = result.to_dict()["intervals"]
    assert plain["map"] == [result.intervals.map.low, result.intervals.map.high]
    assert plain["resamples"] == 20
    assert "95 % intervals" in result.table()


def test_a_figure_that_no_draw_has_has_no_interval() -> None:
    interval = Bootstrap().interval(np.full(5, np.nan))
    assert interval.to_list() == [None, None]
    assert Bootstrap(level=0.5).interval(np.array([np.nan, 0, 1, 2, 3, 4])) == Interval(1, 3)


def test_no_draws_are_refused() -> None:
    with pytest.raises(ValidationError, match="resamples"):
        Bootstrap(resamples=0)
