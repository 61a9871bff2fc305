import numpy as np

from lakesight.plots import curves

HISTORY = [
    {"epoch": 1.0, "learning_rate": 0.01, "loss/box": 3.0, "loss/classes": 2.0},
    {"epoch": 2.0, "learning_rate": 0.02, "loss/box": 2.5, "loss/classes": 1.0, "fitness": 0.5},
    {"epoch": 3.0, "learning_rate": 0.01, "loss/box": 2.0, "loss/classes": 0.5, "fitness": 0.25},
]


def test_every_line_is_a_column_of_the_history() -> None:
    losses, metrics, rate = curves(HISTORY).axes
    drawn = {each.get_label(): np.asarray(each.get_xydata()).tolist() for each in losses.lines}
    assert drawn == {"box": [[1, 3], [2, 2.5], [3, 2]], "classes": [[1, 2], [2, 1], [3, 0.5]]}
    assert np.asarray(metrics.lines[0].get_xydata()).tolist() == [[2, 0.5], [3, 0.25]]
    assert np.asarray(rate.lines[0].get_ydata()).tolist() == [0.01, 0.02, 0.01]
    assert [each.get_xlabel() for each in (losses, metrics, rate)] == ["epoch"] * 3


def test_the_best_epoch_is_marked() -> None:
    metrics = curves(HISTORY).axes[1]
    assert np.asarray(metrics.lines[-1].get_xdata()).tolist() == [2, 2]
    assert "best epoch 2, fitness 0.500" in metrics.get_title()


def test_lines_differ_by_more_than_their_colour_can_say() -> None:
    row = {f"loss/{number}": 1.0 for number in range(28)} | {"epoch": 1.0}
    looks = {(each.get_color(), each.get_linestyle()) for each in curves([row]).axes[0].lines}
    assert len(looks) == 28
