"""A folder of trials: what a search has tried, so that a killed one goes on where it was.

OUTPUT/
  tuning.yaml       the search, its space and the settings that it begins with
  trials/0001.json  a trial: written when it is proposed, and again when it is over
  trials/0001/      its training, as `lakesight train` leaves one
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from lakesight.errors import UserError, first_mistake
from lakesight.files import LOCK, locked, write_whole
from lakesight.models.base import Frozen
from lakesight.training.loop import BEST, CHECKPOINT, STATE
from lakesight.training.settings import flat
from lakesight.training.yolo.job import TrainJob

TUNING = "tuning.yaml"
TRIALS = "trials"


class Trial(Frozen):
    """One training of a search."""

    number: int
    """Counts from 1; the first has the settings as they were given."""
    values: dict[str, float]
    """Of the hyperparameters that are searched, by name."""
    status: Literal["open", "done", "stopped", "failed"] = "open"
    """stopped: it ended before its last epoch, by ASHA or for want of patience."""
    fitness: float = 0.0
    """The best of any epoch; 0 where it failed."""
    curve: tuple[float, ...] = ()
    """The fitness of every epoch."""
    message: str = ""
    """Why it failed."""


class Trials:
    """The trials in a folder, written by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = sorted((folder / TRIALS).glob("*.json"))
        self.known = {one.number: one for one in map(_trial, names)}

    def over(self) -> list[Trial]:
        """Return the trials that are over, in the order of their numbers."""
        return [one for _, one in sorted(self.known.items()) if one.status != "open"]

    def best(self) -> Trial | None:
        """Return the one that is fittest, the earlier of equals; failed ones do not count."""
        whole = [one for one in self.over() if one.status != "failed"]
        return max(whole, key=lambda one: one.fitness, default=None)

    def pending(self, count: int) -> list[int]:
        """Return which of the numbers 1 to `count` are not over."""
        over = {one.number for one in self.over()}
        return [number for number in range(1, count + 1) if number not in over]

    def place(self, number: int) -> Path:
        """Return the folder of a trial's training."""
        return self.folder / TRIALS / f"{number:04}"

    def write(self, trial: Trial) -> None:
        """Write a trial down; where it is over, drop the weights that nobody needs any more."""
        path = self.place(trial.number).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, trial.model_dump_json(indent=2) + "\n")
        self.known[trial.number] = trial
        best = self.best()
        for one in self.over() if trial.status != "open" else ():
            state = self.place(one.number) / STATE
            (state / CHECKPOINT).unlink(missing_ok=True)
            if one != best:
                (state / BEST).unlink(missing_ok=True)


@contextmanager
def held(folder: Path, tuning: Mapping[str, Any]) -> Iterator[Trials]:
    """Yield the trials of a tuning, and keep others from its folder meanwhile.

    Raises UserError where the folder holds another tuning, something else, or where another run
    tunes in it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder for the trials, got the file {folder}")
    names = {one.name for one in folder.iterdir()} if folder.exists() else set()
    if names and not names & {TUNING, LOCK}:
        raise UserError(f"{folder} is not empty: name a new folder")
    with locked(folder, f"another run tunes in {folder}: wait until it is done"):
        _bind(folder, tuning)
        yield Trials(folder)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials from the fittest to the least, failed ones last."""
    return sorted(trials, key=lambda one: (one.status == "failed", -one.fitness, one.number))


def _trial(path: Path) -> Trial:
    try:
        return Trial.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{path} is no trial: {first_mistake(error)}; delete it and its folder to have the "
            "trial done again"
        ) from error


def _bind(folder: Path, tuning: Mapping[str, Any]) -> None:
    path = folder / TUNING
    if not any((folder / TRIALS).glob("*.json")):  # nothing would be mixed
        write_whole(path, yaml.safe_dump(dict(tuning), sort_keys=False))
        return
    known, given = flat(_read(path)), flat(tuning)
    other = [name for name in {**known, **given} if known.get(name) != given.get(name)]
    if other:
        changes = "; ".join(f"{one}: {known.get(one)!r}, now {given.get(one)!r}" for one in other)
        raise UserError(
            f"{folder} holds a tuning with other settings ({changes}): take them, or name a new "
            "folder"
        )


def _read(path: Path) -> dict[str, Any]:
    """Return a tuning; settings that are newer than it have their defaults."""
    try:
        known: Any = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {error}; name a new folder") from error
    if not isinstance(known, dict) or "settings" not in known:
        raise UserError(f"{path} says of no tuning: it lacks `settings`; name a new folder")
    with suppress(ValidationError):  # a setting that there is no more: shown as a difference
        settings = TrainJob.model_validate(known["settings"])
        known["settings"] = settings.model_dump(mode="json")
    return dict(known)
