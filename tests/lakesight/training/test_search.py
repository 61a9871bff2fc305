"""The next values to try: inside their ranges, the same by seed, and better than chance."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.training.search import (
    CHANCE,
    NUM_PARENTS,
    Range,
    Tried,
    Values,
    bred,
    checked,
    default_space,
    drawn,
    mutated,
    proposed,
    values_of,
    with_values,
)
from lakesight.training.yolo.datasets import Task
from lakesight.training.yolo.settings import TrainSettings

SPACE = {
    "a": Range(low=0, high=1),
    "b": Range(low=-2, high=3, gain=0.5),
    "c": Range(low=1e-4, high=0.1, log=True),
}
MIDDLE = {"a": 0.5, "b": 1.0, "c": 0.003}


def many(draw: Callable[[np.random.Generator], Values], count: int = 2000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(count)]
    return {name: np.array([one[name] for one in found]) for name in SPACE}


@pytest.mark.parametrize("task", get_args(Task))
def test_the_default_space_is_one_of_settings_and_holds_their_defaults(task: Task) -> None:
    settings = TrainSettings()
    space = default_space(task)
    plain = {name: one.model_dump() for name, one in space.items()}
    assert checked(plain, settings) == space
    for name, value in values_of(settings, list(space)).items():
        assert space[name].low <= value <= space[name].high, name


def test_what_a_task_lacks_is_not_searched() -> None:
    assert "loss.mask" in default_space("segment")
    assert "loss.mask" not in default_space("detect")
    assert not any(name.startswith("loss.") for name in default_space("classify"))


def test_a_shear_is_searched_where_it_says_the_same_of_an_object() -> None:
    has_shear = {task: "augmentation.shear" in default_space(task) for task in get_args(Task)}
    assert has_shear == {
        "detect": True,
        "segment": True,
        "pose": True,
        "obb": False,
        "classify": False,
    }


def test_random_values_fill_their_ranges() -> None:
    found = many(lambda rng: drawn(SPACE, rng))
    for name, one in SPACE.items():
        assert one.low <= found[name].min()
        assert found[name].max() <= one.high
    assert found["b"].mean() == pytest.approx(0.5, abs=0.1)
    assert np.log10(found["c"]).mean() == pytest.approx(-2.5, abs=0.06)
    assert np.log10(found["c"]).std() == pytest.approx(3 / np.sqrt(12), abs=0.03)


def test_a_mutation_moves_about_half_of_the_values_by_a_little() -> None:
    found = many(lambda rng: mutated(MIDDLE, SPACE, rng))
    for name, gain in (("a", 1.0), ("b", 0.5), ("c", 1.0)):
        factors = found[name] / MIDDLE[name]
        moved = factors[factors != 1]
        one_of_all = (1 - CHANCE) / len(SPACE)  # that is moved in any case
        assert len(moved) / len(factors) == pytest.approx(CHANCE + one_of_all, abs=0.04)
        assert moved.mean() == pytest.approx(1, abs=0.03)
        assert moved.std() == pytest.approx(0.3 * gain, abs=0.03)
    unmoved = [found[name] == MIDDLE[name] for name in SPACE]
    assert not np.all(unmoved, axis=0).any()


def test_a_mutation_stays_inside_and_leaves_zero() -> None:
    ends = {"a": 0.0, "b": 3.0, "c": 1e-4}
    found = many(lambda rng: mutated(ends, SPACE, rng))
    for name, one in SPACE.items():
        assert one.low <= found[name].min() < found[name].max() <= one.high
    assert (found["a"] > 0).mean() > 0.25


def test_parents_are_the_best_and_the_fitter_more_often() -> None:
    worse = [Tried({"a": 0.01, "b": 0.01, "c": 1e-4}, 0.1) for _ in range(5)]
    best = [Tried({"a": 0.3 + 0.1 * n, "b": 2.0, "c": 0.01}, 0.5 + 0.1 * n) for n in range(3)]
    assert len(best) == NUM_PARENTS
    found = many(lambda rng: bred([*worse, *best], SPACE, rng))
    assert found["a"].min() > 0.05
    counts = [(found["a"] == one.values["a"]).sum() for one in best]
    assert counts == sorted(counts)
    assert counts[0] > 0


def test_a_cross_has_values_of_several() -> None:
    parents = [
        Tried({"a": 0.9, "b": 3.0, "c": 0.1}, 0.5),
        Tried({"a": 0.2, "b": 1, "c": 1e-3}, 0.5),
    ]
    found = many(lambda rng: bred(parents, SPACE, rng))
    mixed = (found["a"] == 0.9) & (found["c"] == 1e-3) | (found["a"] == 0.2) & (found["c"] == 0.1)
    assert mixed.any()


@pytest.mark.parametrize("search", ["genetic", "asha"])
def test_a_proposal_depends_on_its_arguments_alone(search: Literal["genetic", "asha"]) -> None:
    tried = [Tried(MIDDLE, 0.3)]
    again = [proposed(search, 2, tried, MIDDLE, SPACE, seed=1) for _ in range(2)]
    assert again[0] == again[1]
    assert proposed(search, 3, tried, MIDDLE, SPACE, seed=1) != again[0]
    assert proposed(search, 2, tried, MIDDLE, SPACE, seed=2) != again[0]


def test_the_first_is_what_was_given_and_nothing_tried_breeds_from_it() -> None:
    assert proposed("genetic", 1, [], MIDDLE, SPACE, seed=0) == MIDDLE
    child = proposed("genetic", 2, [], MIDDLE, SPACE, seed=0)
    assert child != MIDDLE
    assert all(child[name] == pytest.approx(MIDDLE[name], rel=1) for name in SPACE)


def best_of(search: Literal["genetic", "asha"], seed: int, num_trials: int) -> float:
    """Return the best value of a bump in eight dimensions, begun beside its top."""
    space = {f"x{n}": Range(low=0, high=1) for n in range(8)}
    rng = np.random.default_rng(seed)
    top = rng.uniform(0.1, 0.9, 8)
    base = dict(zip(space, np.clip(top + rng.normal(0, 0.2, 8), 0, 1), strict=True))

    def fitness(values: Values) -> float:
        return float(np.exp(-4 * ((np.array(list(values.values())) - top) ** 2).sum()))

    tried = [Tried(base, fitness(base))]
    for number in range(2, num_trials + 1):
        values = proposed(search, number, tried, base, space, seed)
        tried.append(Tried(values, fitness(values)))
    return max(one.fitness for one in tried)


def test_the_genetic_search_finds_more_than_chance() -> None:
    seeds = range(20)
    genetic, chance = (
        np.array([best_of(search, seed, 40) for seed in seeds])
        for search in ("genetic", "asha")  # asha draws at random
    )
    assert (genetic > chance).sum() >= 17
    assert np.median(genetic) > np.median(chance) + 0.15


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"speed": {"low": 0, "high": 1}}, "speed is no setting of a training"),
        ({"loss.speed": {"low": 0, "high": 1}}, "loss.speed is no setting"),
        ({"epochs": {"low": 1, "high": 9}}, "epochs is no number with a fraction"),
        ({"loss": {"low": 1, "high": 9}}, "loss is no number with a fraction"),
        ({"momentum": {"low": 0.9, "high": 0.5}}, "momentum: .*expected low < high"),
        ({"momentum": {"low": 0, "high": 0.5, "log": True}}, "above 0 where log"),
        ({"momentum": {"low": 0.5}}, "momentum: Field required"),
        ({"momentum": [0.5, 0.9]}, "momentum: "),
        ({"momentum": {"low": 0.5, "high": 1.5}}, "momentum: Input should be less than 1"),
        ({"augmentation.mosaic": {"low": -1, "high": 1}}, "augmentation.mosaic: Input should be"),
        ({}, "the space is empty"),
    ],
)
def test_a_space_that_cannot_be_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked(space, TrainSettings())


def test_values_go_into_settings_and_come_out_again() -> None:
    values = {"learning_rate": 0.5, "loss.box": 3.0, "augmentation.mosaic": 0.25}
    settings = with_values(TrainSettings(epochs=7), values)
    assert (settings.epochs, settings.loss.box, settings.augmentation.mosaic) == (7, 3.0, 0.25)
    assert values_of(settings, list(values)) == values
