"""How a checkpoint of transformers runs: its weights on torch, or an export of several graphs."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lakesight.errors import UserError
from lakesight.models.base import ModelCard, RuntimeName
from lakesight.models.exported import Way, choose_way, main_file, others, why
from lakesight.runtimes.engines import Engine
from lakesight.runtimes.graphs import Graph

log = logging.getLogger(__name__)


class Graphs(NamedTuple):
    """The graphs of an export that has several, on an engine."""

    engine: Engine
    folder: Path
    num_threads: int | None = None

    def open(self, name: str) -> Graph:
        """Return one of them by its file's name."""
        return self.engine.open_graph(self.folder / name, self.num_threads)

    @property
    def place(self) -> str:
        """Return the engine and its device in words."""
        return f"{self.engine.runtime} on {self.engine.device}"


def checkpoint_way(
    card: ModelCard, options: Mapping[str, Any], wanted: RuntimeName, *, here: bool = True
) -> Way:
    """Return how a checkpoint of transformers runs: an export of it, or its weights on torch.

    `options` are those of its family. An export computes in float32 on a CPU: any other `device`
    or `dtype` is torch's. Raises UserError, with what to do, where there is no way.
    """
    precision = options.get("precision", "f32")
    places = {name: options.get(name, "auto") for name in ("device", "dtype")}
    on_torch = places["device"] == "cuda" or places["dtype"] not in ("auto", "float32")
    if on_torch and (wanted not in ("auto", "torch") or precision != "f32"):
        what = precision if wanted in ("auto", "torch") else wanted
        asked = " and ".join(f"{name}={value}" for name, value in places.items())
        raise UserError(
            f"{card.name} was asked to run as {what} with {asked}, but exports run on the CPU in "
            "float32: leave device and dtype at auto"
        )
    if not card.artefacts and wanted not in ("auto", "torch"):
        raise UserError(
            f"{card.name} was asked to run on {wanted}, but without an export it runs on torch "
            "only: leave the runtime at auto, or export it (`lakesight export`, BLIP-2 alone)"
        )
    return choose_way(card, "torch" if on_torch else wanted, precision, here=here)


def graphs_of(card: ModelCard, options: Mapping[str, Any], wanted: RuntimeName) -> Graphs | None:
    """Return the graphs that run a checkpoint, every file checked; None where torch runs it.

    See `checkpoint_way`.
    """
    way = checkpoint_way(card, options, wanted)
    if stale := others(card):
        log.warning(
            "%s: %s left out, made of other weights: export again", card.name, ", ".join(stale)
        )
    if card.artefacts:
        name = way.artefact.name if way.artefact else "its weights"
        log.info("%s runs as %s on %s: %s", card.name, name, way.engine.runtime, why(way, wanted))
    if way.artefact is None:
        return None
    return Graphs(way.engine, main_file(card, way.artefact).parent, options.get("num_threads"))
