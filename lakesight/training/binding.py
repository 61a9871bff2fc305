"""The folder of a training: held by one, and bound to its settings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.files import PART, locked, write_whole
from lakesight.training.loop import SETTINGS, STATE
from lakesight.training.settings import LoopSettings


@contextmanager
def held(folder: Path, shown: str | None = None) -> Iterator[None]:
    """Keep other trainings out of the folder of a model, which `shown` names in errors.

    Raises UserError where another one is in it, or something else.
    """
    _check(folder, shown)
    state = folder / STATE
    with locked(state, f"another run trains in {shown or folder}: wait until it is done"):
        for left in state.glob(f".*{PART}"):  # by one that was killed
            left.unlink()
        yield


def bind(job: LoopSettings, folder: Path, shown: str | None = None) -> bool:
    """Write the settings down, or compare with those that are there; return whether it is done.

    `shown` names the folder in errors. Raises UserError where the folder holds a training of other
    settings, or something else.
    """
    _check(folder, shown)
    path = folder / STATE / SETTINGS
    given = job.model_dump(mode="json")
    if path.is_file():
        known = _known(path, type(job))
        other = [name for name, value in given.items() if known[name] != value]
        if other:
            changes = "; ".join(f"{one}: {known[one]!r}, now {given[one]!r}" for one in other)
            raise UserError(
                f"{shown or folder} holds a training with other settings ({changes}): take them, "
                "or name a new folder"
            )
        return (folder / "card.json").is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, yaml.safe_dump(given, sort_keys=False))
    return False


def _check(folder: Path, shown: str | None) -> None:
    """Raise UserError unless this is the folder of a training, or may become one."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder for the model, got the file {shown or folder}")
    is_bound = (folder / STATE / SETTINGS).is_file()
    if not is_bound and folder.exists() and any(one.name != STATE for one in folder.iterdir()):
        raise UserError(f"{shown or folder} is not empty: name a new folder")


def _known(path: Path, kind: type[LoopSettings]) -> dict[str, Any]:
    """Return the settings of a training; those that it is too old to know have their defaults."""
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        return kind.model_validate(written).model_dump(mode="json")
    except (ValidationError, yaml.YAMLError) as error:
        raise UserError(f"{path} is of another version of Lakesight: {error}") from error


def model_name(place: str) -> str:
    """Return what a model is called after its folder or prefix, as a card may name it."""
    last = place.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or "trained"
