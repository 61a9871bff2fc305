"""Whether a model would run on this machine, without loading it."""

from dataclasses import dataclass

from lakesight.errors import UserError
from lakesight.models import licences
from lakesight.models.artefact import local_folder
from lakesight.models.base import HubSource, ModelCard
from lakesight.runtimes.choose import READERS, choose


@dataclass(frozen=True)
class Availability:
    """Whether a model runs here; how, or what is missing, in one clause."""

    runs: bool
    how: str


def availability(card: ModelCard) -> Availability:
    """Return whether the model's files and a runtime for them are here, and its licence allows it.

    Digests are checked when it is loaded, not here.
    """
    try:
        licences.check(card)
        return _ready(card)
    except UserError as error:
        return Availability(runs=False, how=str(error))


def num_bytes(card: ModelCard) -> int | None:
    """Return the size of the card's files; None where they are not on this machine."""
    try:
        folder = local_folder(card.source)
    except UserError:
        return None
    paths = [folder / name for name in card.sha256] if folder else []
    if not paths or not all(path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def _ready(card: ModelCard) -> Availability:
    if local_folder(card.source) is not None and num_bytes(card) is None:
        return Availability(runs=False, how="its files are missing")
    runnable = [name for name in card.sha256 if name.endswith(tuple(READERS))]
    if runnable:
        choice = choose(runnable[0])
        how = f"{choice.runtime} on {choice.device}"
    else:
        how = "torch"
    where = ", fetched from the hub at first" if isinstance(card.source, HubSource) else ""
    return Availability(runs=True, how=how + where)
