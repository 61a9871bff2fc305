"""Whether a model would run on this machine, without loading it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from lakesight.errors import UserError
from lakesight.models import licences
from lakesight.models.artefact import local_folder
from lakesight.models.base import (
    FolderSource,
    HubSource,
    ModelCard,
    ModelSpec,
    PackageSource,
    Source,
)
from lakesight.models.checkpoints import checkpoint_way
from lakesight.models.exported import choose_way, why
from lakesight.models.families import family_of
from lakesight.runtimes.choose import check_reads, choose
from lakesight.runtimes.engines import ENDINGS, num_nvidia_gpus


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


def check(spec: ModelSpec, *, here: bool) -> str:
    """Return how and why so a model of a job will run, in one clause.

    `here`: on this machine, whose runtimes are then looked at too. Raises UserError, with what
    mends it, for whatever can be known to fail without loading the model.
    """
    card = spec.card
    licences.check(card, spec.licences_accepted)
    _check_files(card)
    precision = spec.options.get("precision", "f32")
    if family_of(card).exported:
        way = choose_way(card, spec.runtime, precision, here=here)
        if not here:
            return "on the cluster's machines, by what each has"
        return f"on {way.engine.runtime}, {way.engine.device}: {why(way, spec.runtime)}"
    names = _runnable(card)
    if not names:
        return _on_torch(spec, here=here)
    check_reads(names[0], spec.runtime, precision)
    if not here:
        return "on the cluster's machines, by what each has"
    choice = choose(names[0], spec.runtime, precision)
    return f"on {choice.runtime}, {choice.device}: {choice.reason}"


def _on_torch(spec: ModelSpec, *, here: bool) -> str:
    way = checkpoint_way(spec.card, spec.options, spec.runtime, here=here)
    if here and spec.options.get("device") == "cuda" and not num_nvidia_gpus():
        raise UserError(
            f"device=cuda was asked for {spec.card.name}, but this machine shows no NVIDIA GPU: "
            "use device=auto"
        )
    if spec.card.artefacts and not here:
        return "on the cluster's machines, by what each has"
    if spec.card.artefacts:
        return f"on {way.engine.runtime}, {way.engine.device}: {why(way, spec.runtime)}"
    return "on torch: nothing else runs these weights"


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


def num_parameters(card: ModelCard) -> int | None:
    """Return how many numbers the card's safetensors hold, running statistics included.

    None where they are not on this machine, or the weights are in another format.
    """
    names = [name for name in card.sha256 if name.endswith(".safetensors")]
    folder = local_folder(card.source) if names and num_bytes(card) is not None else None
    return sum(_numbers(folder / name) for name in names) if folder else None


def _numbers(path: Path) -> int:
    """Return how many floats a safetensors file says that it holds, by its header."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    tensors = (one for name, one in header.items() if name != "__metadata__")
    return sum(math.prod(one["shape"]) for one in tensors if "F" in one["dtype"])


def origin(source: Source) -> str:
    """Return in a few words where a model's files are from."""
    match source:
        case PackageSource():
            return f"{source.package} (installed package)"
        case FolderSource():
            return source.uri
        case HubSource():
            return f"{source.repo} at {source.revision[:12]}"


def _check_files(card: ModelCard) -> None:
    """Raise UserError where a local model's package or files are missing."""
    if card.sha256 and local_folder(card.source) is not None and num_bytes(card) is None:
        raise UserError(f"the files of {card.name} are missing from {local_folder(card.source)}")


def _runnable(card: ModelCard) -> list[str]:
    """Return the files that a runtime reads; none for weights that a family loads into torch."""
    return [name for name in card.sha256 if name.endswith(ENDINGS)]


def _ready(card: ModelCard) -> Availability:
    _check_files(card)
    names = _runnable(card)
    if family_of(card).exported:
        engine = choose_way(card).engine
        how = f"{engine.runtime} on {engine.device}"
    elif names:
        choice = choose(names[0])
        how = f"{choice.runtime} on {choice.device}"
    elif card.artefacts:
        engine = checkpoint_way(card, {}, "auto").engine
        how = f"{engine.runtime} on {engine.device}"
    else:
        how = "torch"
    where = ", fetched from the hub at first" if isinstance(card.source, HubSource) else ""
    return Availability(runs=True, how=how + where)
