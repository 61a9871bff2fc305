import numpy as np
from matplotlib.collections import PathCollection

from lakesight.plots.trials import trials
from lakesight.training.search import Range
from lakesight.training.trials import Trial

SPACE = {
    "learning_rate": Range(low=1e-4, high=0.1, log=True),
    "augmentation.mosaic": Range(low=0, high=1),
}
FOUND = [
    Trial(
        number=number,
        values={"learning_rate": 0.01 / number, "augmentation.mosaic": 0.25 * number},
        status="failed" if number == 2 else "done",
        fitness=fitness,
    )
    for number, fitness in enumerate((0.25, 0.0, 0.75, 0.5), 1)
]


def test_every_hyperparameter_has_a_panel_with_every_trial() -> None:
    by_trial, rate, mosaic, empty = trials(FOUND, SPACE).axes
    assert [one.get_title() for one in (rate, mosaic)] == list(SPACE)
    assert (rate.get_xscale(), mosaic.get_xscale()) == ("log", "linear")
    drawn = {tuple(np.asarray(dot.get_offsets())[0].tolist()) for dot in mosaic.collections}
    assert drawn == {(one.values["augmentation.mosaic"], one.fitness) for one in FOUND}
    assert not empty.axison
    assert by_trial.get_xlabel() == "trial"


def test_the_best_so_far_never_falls() -> None:
    (line,) = trials(FOUND, SPACE).axes[0].lines
    assert np.asarray(line.get_xdata()).tolist() == [1, 2, 3, 4]
    assert np.asarray(line.get_ydata()).tolist() == [0.25, 0.25, 0.75, 0.75]


def num_stars(found: list[Trial]) -> int:
    dots = trials(found, SPACE).axes[0].collections
    return sum(isinstance(dot, PathCollection) and dot.get_sizes()[0] > 100 for dot in dots)


def test_the_best_has_a_star_unless_all_have_failed() -> None:
    assert num_stars(FOUND) == 1
    assert num_stars(FOUND[1:2]) == 0


def test_no_trial_is_an_empty_drawing() -> None:
    assert len(trials([], SPACE).axes) == 4
