"""Plots of a real evaluation: what is drawn is what was measured."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from lakesight.metrics import Confusion, DetectionEvaluator, DetectionResult, Predictions, Truth
from lakesight.metrics.precision import mean_of_known
from lakesight.plots import confusion_matrix, over_confidence, precision_recall
from lakesight.plots.evaluation import MAX_NAMED


def evaluated(labels: tuple[str, ...], seed: int = 0) -> DetectionResult:
    """Return a result over 12 pictures on which 1 object of 5 is missed, and some misplaced."""
    rng = np.random.default_rng(seed)
    evaluator = DetectionEvaluator(labels)
    for picture in range(12):
        corners = rng.uniform(0, 200, (9, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 60, (9, 2))], axis=1)
        ids = rng.integers(0, len(labels), 9)
        kept = rng.random(9) < 0.8
        moved = boxes[kept] + rng.normal(0, 4, (kept.sum(), 1))
        truth = Truth(picture, ids, boxes_xyxy=boxes)
        scores = rng.random(kept.sum())
        evaluator.update(truth, Predictions(picture, ids[kept], moved, scores=scores))
    return evaluator.result()


@pytest.fixture(scope="module")
def result() -> DetectionResult:
    return evaluated(("cat", "dog", "$x_$", "_hidden"))


def line_named(axes: Axes, start: str) -> np.ndarray:
    (found,) = [each for each in axes.lines if str(each.get_label()).startswith(start)]
    return np.asarray(found.get_xydata())


def test_precision_over_recall_is_the_curve_of_the_result(result: DetectionResult) -> None:
    (axes,) = precision_recall(result).axes
    values = result.curves
    for number, label in enumerate(("cat", "dog")):
        drawn = line_named(axes, label)
        np.testing.assert_array_equal(drawn[:, 0], values.recall_points)
        np.testing.assert_array_equal(drawn[:, 1], values.precision_at_recall[number])
    mean = line_named(axes, "mean")
    np.testing.assert_allclose(mean[:, 1], mean_of_known(values.precision_at_recall, axis=0))
    assert f"mAP50 {result.map50:.3f}" in str(axes.get_legend_handles_labels()[1])
    assert "recall" in axes.get_xlabel()
    assert "precision" in axes.get_ylabel()


def test_f1_precision_and_recall_over_confidence(result: DetectionResult) -> None:
    values = result.curves
    panels = over_confidence(result).axes
    for axes, curve in zip(panels, (values.f1, values.precision, values.recall), strict=True):
        drawn = line_named(axes, "dog")
        np.testing.assert_array_equal(drawn[:, 0], values.confidences)
        np.testing.assert_array_equal(drawn[:, 1], curve[1])
        assert axes.get_xlabel() == "least confidence"
        best = np.asarray(axes.lines[-1].get_xdata())
        assert best.tolist() == [values.best_confidence] * 2
    assert f"best at confidence {values.best_confidence:.2f}" in panels[0].get_title()


def test_labels_are_text_whatever_is_in_them(result: DetectionResult) -> None:
    figure = precision_recall(result)
    figure.canvas.draw()  # an odd "$" would end here
    legend = figure.axes[0].get_legend()
    assert legend is not None
    names = [each.get_text() for each in legend.get_texts()]
    assert any("_hidden" in name for name in names)
    assert any(r"\$x_\$" in name for name in names)


def test_many_classes_are_grey_but_the_most_frequent() -> None:
    found = evaluated(tuple(f"class {number}" for number in range(30)))
    (axes,) = precision_recall(found).axes
    names = axes.get_legend_handles_labels()[1]
    assert len(names) == MAX_NAMED + 2
    known = sum(one.num_truth > 0 for one in found.classes)
    assert names[0] == f"{known - MAX_NAMED} further"
    assert len(axes.lines) == known + 1
    frequent = max(found.classes, key=lambda one: one.num_truth)
    assert any(name.startswith(frequent.label) for name in names)


def test_nothing_to_find_is_an_empty_plot() -> None:
    evaluator = DetectionEvaluator(("cat",))
    evaluator.update(Truth(0, np.zeros(0, np.int64), np.zeros((0, 4))), Predictions.nothing(0))
    nothing = evaluator.result()
    for figure in (precision_recall(nothing), over_confidence(nothing)):
        assert not figure.axes[0].lines
        figure.canvas.draw()
    confusion_matrix(nothing.confusion).canvas.draw()


CONFUSION = Confusion(("cat", "dog"), np.array([[6, 2], [0, 4]]))


def test_the_matrix_shows_counts_and_parts_of_rows() -> None:
    counts = confusion_matrix(CONFUSION).axes[0]
    np.testing.assert_array_equal(counts.images[0].get_array(), [[6, 2], [0, 4]])
    texts = {each.get_position(): each.get_text() for each in counts.texts}
    assert texts == {(0, 0): "6", (1, 0): "2", (1, 1): "4"}, "position is (found, true)"
    parts = confusion_matrix(CONFUSION, normalised=True).axes[0]
    np.testing.assert_array_equal(parts.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert parts.images[0].get_clim() == (0, 1)
    assert [each.get_text() for each in parts.get_yticklabels()] == ["cat", "dog"]
    assert (parts.get_xlabel(), parts.get_ylabel()) == ("found class", "true class")


def test_a_matrix_of_many_classes_has_no_numbers() -> None:
    labels = tuple(f"class {number}" for number in range(100))
    axes = confusion_matrix(Confusion(labels, np.eye(100, dtype=np.int64))).axes[0]
    assert not axes.texts
    assert "class 99" not in [each.get_text() for each in axes.get_yticklabels()]
