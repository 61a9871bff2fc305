"""Which settings to train with next: a space of them, and two ways through it, in plain Python.

- genetic: a parent from the best so far, or a cross of them, then every value moved by chance. It
  climbs, and wants the trials one after the other, or a few at once.
- random: every value drawn anew; `workflows/tune.py` ends the worse half-way (ASHA).

A hyperparameter is named by its path in the settings: `learning_rate`, `augmentation.mosaic`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from lakesight.training.yolo.datasets import Task

Values = Mapping[str, float]
Settings = TypeVar("Settings", bound=BaseModel)

NUM_PARENTS = 3
"""So many of the best may have children."""
CROSS = 0.5
"""Chance that a child has two or more parents."""
CHANCE = 0.5
"""Of every value, that it is moved."""
SPREAD = 0.3
"""Standard deviation of the factor that moves a value whose gain is 1."""
MIN_FACTOR, MAX_FACTOR = 1 / 3, 3.0
LEAST = 0.1
"""A value below so much of its range moves as if it were there: 0 times anything stays 0."""
DIGITS = 4
"""Of a proposed value."""


class Range(Frozen):
    """Where one hyperparameter may be."""

    low: float
    high: float
    log: bool = False
    """Random values are uniform in the logarithm, for what varies by powers of ten."""
    gain: float = Field(default=1.0, gt=0)
    """Factor of how far the genetic search moves it."""

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"expected low < high, above 0 where log, got {self.low}, {self.high}")
        return self


Space = Mapping[str, Range]


class Tried(NamedTuple):
    """Values, and what came of them."""

    values: Values
    fitness: float


_ALL: Space = {
    "learning_rate": Range(low=1e-4, high=0.1, log=True),
    "final_factor": Range(low=0.01, high=1.0, log=True),
    "momentum": Range(low=0.6, high=0.98, gain=0.3),
    "weight_decay": Range(low=1e-5, high=1e-2, log=True),
    "warmup_epochs": Range(low=0, high=5),
    "augmentation.hue": Range(low=0, high=0.1),
    "augmentation.saturation": Range(low=0, high=0.9),
    "augmentation.value": Range(low=0, high=0.9),
    "augmentation.scale": Range(low=0, high=0.95),
    "augmentation.flip_horizontal": Range(low=0, high=1),
}
_OBJECTS: Space = {
    "augmentation.degrees": Range(low=0, high=45),
    "augmentation.translate": Range(low=0, high=0.5),
    "augmentation.shear": Range(low=0, high=10),
    "augmentation.flip_vertical": Range(low=0, high=1),
    "augmentation.mosaic": Range(low=0, high=1),
    "augmentation.mixup": Range(low=0, high=0.5),
    "loss.box": Range(low=1, high=20, log=True),
    "loss.classes": Range(low=0.1, high=4, log=True),
    "loss.distribution": Range(low=0.3, high=6, log=True),
}
_OF_TASK: Mapping[Task, Space] = {
    "segment": {
        "loss.mask": Range(low=1, high=20, log=True),
        "augmentation.copy_paste": Range(low=0, high=1),
    },
    "pose": {
        "loss.keypoints": Range(low=2, high=40, log=True),
        "loss.visibility": Range(low=0.2, high=5, log=True),
    },
}


_SHEAR, _TURN = {"augmentation.shear"}, {"augmentation.degrees"}
_MIRROR = {"augmentation.flip_horizontal", "augmentation.flip_vertical"}


def default_space(task: Task, *, turns: bool = True, mirrors: bool = True) -> Space:
    """Return what a task's training depends on, in the ranges that are usual.

    Of poses, `turns` says that a keypoint is the same one however a picture is turned, `mirrors`
    that somebody knows what becomes of it in a mirror. A shear makes no rotated box a better one.
    """
    if task == "classify":
        return _ALL
    space = {**_ALL, **_OBJECTS, **_OF_TASK.get(task, {})}
    left_out = _SHEAR if task == "obb" else set[str]()
    if task == "pose":
        left_out = (set() if turns else _SHEAR | _TURN) | (set() if mirrors else _MIRROR)
    return {name: one for name, one in space.items() if name not in left_out}


def checked(space: Mapping[str, Any], settings: BaseModel) -> Space:
    """Return ranges from plain values, both ends of each allowed; UserError where one is not."""
    found = {}
    for name, given in space.items():
        try:
            found[name] = Range.model_validate(given)
        except ValidationError as error:
            raise UserError(f"the space's {name}: {_first(error)}") from error
        value = _value(settings, name)
        if not isinstance(value, float):
            raise UserError(f"the space's {name} is no number with a fraction that can be searched")
        for end in (found[name].low, found[name].high):
            with_values(settings, {name: end})
    if not found:
        raise UserError("the space is empty: give at least one range")
    return found


def values_of(settings: BaseModel, names: Sequence[str]) -> dict[str, float]:
    """Return what the settings have under these names."""
    return {name: float(_value(settings, name)) for name in names}


def with_values(settings: Settings, values: Values) -> Settings:
    """Return the settings with other values; UserError where one is not allowed."""
    plain = settings.model_dump()
    for name, value in values.items():
        *groups, last = name.split(".")
        place = plain
        for group in groups:
            place = place[group]
        place[last] = value
    try:
        return type(settings).model_validate(plain)
    except ValidationError as error:
        name = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"the space's {name}: {_first(error)}") from error


def proposed(
    search: Literal["genetic", "asha"],
    number: int,
    tried: Sequence[Tried],
    base: Values,
    space: Space,
    seed: int,
) -> dict[str, float]:
    """Return the values of trial `number`, from 1; the same for the same arguments.

    The first is `base`, what the search begins with. `tried` is what came of earlier ones.
    """
    if number == 1:
        return dict(base)
    rng = np.random.default_rng([seed, number])
    if search == "asha":
        return drawn(space, rng)
    return bred(tried or [Tried(base, 0.0)], space, rng)


def drawn(space: Space, rng: np.random.Generator) -> dict[str, float]:
    """Return random values, uniform or log-uniform in their ranges."""
    values = {}
    for name, one in space.items():
        low, high = (np.log(one.low), np.log(one.high)) if one.log else (one.low, one.high)
        value = rng.uniform(low, high)
        values[name] = _fitted(float(np.exp(value)) if one.log else value, one)
    return values


def bred(tried: Sequence[Tried], space: Space, rng: np.random.Generator) -> dict[str, float]:
    """Return a mutated child of the best of those that were tried, at least one."""
    best = sorted(tried, key=lambda one: -one.fitness)[:NUM_PARENTS]
    weights = _weights([one.fitness for one in best])
    if rng.random() < CROSS:
        chosen = rng.choice(len(best), size=len(space), p=weights)
    else:
        chosen = np.full(len(space), rng.choice(len(best), p=weights))
    parent = {name: best[one].values[name] for name, one in zip(space, chosen, strict=True)}
    return mutated(parent, space, rng)


def mutated(parent: Values, space: Space, rng: np.random.Generator) -> dict[str, float]:
    """Return values of which about half are moved by a random factor, and at least one."""
    moved = rng.random(len(space)) < CHANCE
    moved[rng.integers(len(space))] = True
    child = {}
    for (name, one), is_moved in zip(space.items(), moved, strict=True):
        factor = np.clip(rng.normal(1, SPREAD * one.gain), MIN_FACTOR, MAX_FACTOR)
        reach = max(parent[name], 0 if one.log else LEAST * (one.high - one.low))
        child[name] = _fitted(parent[name] + is_moved * (factor - 1) * reach, one)
    return child


def _weights(fitness: Sequence[float]) -> Any:
    """Return the chances of the best to be parents: by how far they are above the worst of them."""
    above = np.array(fitness) - min(fitness)
    above += above.max() / len(above) or 1
    return above / above.sum()


def _fitted(value: float, within: Range) -> float:
    """Return a value with a few digits, inside its range."""
    return min(max(float(f"{value:.{DIGITS}g}"), within.low), within.high)


def _value(settings: BaseModel, name: str) -> Any:
    place: Any = settings
    for part in name.split("."):
        if not isinstance(place, BaseModel) or part not in type(place).model_fields:
            raise UserError(
                f"the space's {name} is no setting of a training: see lakesight train -h"
            )
        place = getattr(place, part)
    return place


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['msg']} (got {first['input']!r})"
