"""The ways to run a card's network: its own weights on torch, or an export on another engine."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lakesight.errors import UserError
from lakesight.models.artefact import stage
from lakesight.models.base import Artefact, ModelCard, Precision, RuntimeName
from lakesight.runtimes.base import CompiledElsewhereError, Runtime
from lakesight.runtimes.choose import computes
from lakesight.runtimes.engines import ENGINES, Engine
from lakesight.runtimes.onnx_graph import external_files

log = logging.getLogger(__name__)


class Way(NamedTuple):
    """An engine, and what it opens."""

    engine: Engine
    artefact: Artefact | None
    """None: the weights themselves, on torch."""


def ways(card: ModelCard, precision: Precision) -> list[Way]:
    """Return every way to run the network in that precision, here or elsewhere, the fastest first.

    What is stored in the precision comes before what an engine computes in it; a file with NMS
    inside is for other programs, and an export of other weights is none of this card's network.
    """
    return [way for engine in ENGINES for way in _on(engine, card, precision)]


def _on(engine: Engine, card: ModelCard, precision: Precision) -> list[Way]:
    if engine.runtime == "torch":
        return [Way(engine, None)] if computes(engine, precision) else []
    able = [
        one
        for one in card.artefacts
        if one.ending in engine.reads
        and not one.suppressed
        and not (one.parts and engine.opens_graph is None)
        and card.owns(one)
        and computes(engine, precision, one.precision)
    ]
    able.sort(key=lambda one: (one.precision != precision, engine.reads.index(one.ending)))
    return [Way(engine, one) for one in able]


def fits(way: Way, wanted: RuntimeName) -> bool:
    """Return whether it is a wanted way; `auto` opens no file that runs code of its own."""
    return way.engine.fits(wanted, opens=way.artefact is not None)


def choose_way(
    card: ModelCard,
    wanted: RuntimeName = "auto",
    precision: Precision = "f32",
    *,
    here: bool = True,
) -> Way:
    """Return the wanted way, or for `auto` the fastest on this machine.

    `auto` leaves out exports that nobody has held against the weights. `here=False` does not ask
    whether this machine can. Raises UserError, with what to do, where there is none.
    """
    return able_ways(card, wanted, precision, here=here)[0]


def able_ways(
    card: ModelCard, wanted: RuntimeName, precision: Precision, *, here: bool = True
) -> list[Way]:
    """Return all that `choose_way` chooses from, the fastest first; it raises the same."""
    known = [way for way in ways(card, precision) if fits(way, wanted)]
    if not known:
        raise UserError(_nothing(card, wanted, precision))
    able = [way for way in known if (not here or way.engine.here()) and _proven(way, wanted)]
    if not able:
        raise UserError(_not_here(card, wanted, known, here=here))
    return able


def _proven(way: Way, wanted: RuntimeName) -> bool:
    return way.artefact is None or way.artefact.parity is not None or wanted != "auto"


def open_first(able: Sequence[Way], open_one: Callable[[Way], Runtime]) -> tuple[Way, Runtime]:
    """Return the first of these ways that was not compiled for another machine, and its runtime.

    Those that were are passed over with a warning; the last one's error is raised.
    """
    for way in able[:-1]:
        try:
            return way, open_one(way)
        except CompiledElsewhereError as error:
            log.warning("%s; taking the next way", error)
    return able[-1], open_one(able[-1])


def others(card: ModelCard) -> list[str]:
    """Return the names of the exports that were made of other weights, or at another view."""
    return [one.name for one in card.artefacts if not card.owns(one)]


def why(way: Way, wanted: RuntimeName) -> str:
    """Return why a way was taken, in one clause."""
    if wanted != "auto":
        return "it was asked for"
    if way.artefact is None and way.engine.device == "cpu":
        return "no export of it runs faster here (`lakesight export`)"
    return way.engine.reason


def main_file(card: ModelCard, artefact: Artefact) -> Path:
    """Return the file, or folder, that an engine opens; every file of the export is checked.

    Raises UserError for an export of other weights, and for ONNX tensors outside the file's folder
    or in a file without a digest.
    """
    if not card.owns(artefact):
        raise UserError(
            f"{artefact.name} was made of other weights, or at another view, than {card.name} has "
            "now: export it again"
        )
    path = _staged(card, artefact) / artefact.main
    if path.suffix != ".onnx":
        return path
    path = path.resolve()  # a staged file may be a link: external data lies beside the file itself
    home = PurePosixPath(artefact.main).parent
    graphs = [path.name]
    if artefact.parts:
        graphs = [PurePosixPath(name).name for name in artefact.files if name.endswith(".onnx")]
    for graph in graphs:
        for beside in external_files(path.with_name(graph)):
            if str(home / beside) not in artefact.files:
                raise UserError(
                    f"{graph} keeps tensors in {beside}, which the card lists no sha256 for"
                )
    return path


def num_bytes(card: ModelCard, artefact: Artefact) -> int:
    """Return the size of an export's files; every one of them is checked."""
    folder = _staged(card, artefact)
    return sum((folder / name).stat().st_size for name in artefact.files)


def _staged(card: ModelCard, artefact: Artefact) -> Path:
    return stage(card.model_copy(update={"sha256": artefact.files}))


def _not_here(card: ModelCard, wanted: RuntimeName, known: list[Way], *, here: bool) -> str:
    """Return why none of the known ways is taken, and what to do."""
    able = [way for way in known if not here or way.engine.here()]
    if able:
        names = " and ".join(dict.fromkeys(way.artefact.name for way in able if way.artefact))
        return (
            f"nobody has compared {names} of {card.name} with its weights: export it again where "
            f"something runs it, or ask for --runtime {able[0].engine.runtime} by name"
        )
    advice = " or ".join(dict.fromkeys(way.engine.install for way in known))
    return f"nothing installed here runs {card.name} with runtime {wanted}: {advice}"


def _nothing(card: ModelCard, wanted: RuntimeName, precision: Precision) -> str:
    made = {one.name: "" if card.owns(one) else " of other weights" for one in card.artefacts}
    exported = ", ".join(name + told for name, told in made.items()) or "none"
    formats = [one.reads[0] for one in ENGINES if wanted in ("auto", one.runtime)]
    what = f"in {precision}" if wanted == "auto" else f"on {wanted} in {precision}"
    return (
        f"{card.name} cannot run {what}: it has no export for that (exports: {exported}). Make one "
        f"with `lakesight export`, --precision {precision}; {wanted} reads {' '.join(formats)}"
    )
