"""`lakesight benchmark MODEL`: every way to run a YOLO on this machine, how good and how fast."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from lakesight.errors import UserError
from lakesight.exporting import pictures
from lakesight.exporting.run import VIEWS_SEED
from lakesight.exporting.source import open_source
from lakesight.models import catalog
from lakesight.models.artefact import stage
from lakesight.models.base import Artefact, Frozen, Image, ModelCard, Precision
from lakesight.models.exported import Way, choose_way, num_bytes, why
from lakesight.models.yolo.folder import WEIGHTS
from lakesight.models.yolo.model import open_way
from lakesight.runtimes.base import Runtime, RuntimeOptions
from lakesight.runtimes.engines import ENGINES, readers
from lakesight.runtimes.speed import seconds_per_picture
from workflows.tables import write_aligned

BATCHES = (1, 8)
MUCH_SLOWER = 1.1
"""Less than this is what two measurements of one runtime differ by."""
SHOWN = ("export", "on", "MB", "boxes px", "mAP loss", "ms", "images/s", "in eights", "auto")


@dataclass
class Row:
    """One way to run the model, and what came of it."""

    name: str
    """Of the export, or `weights`."""
    precision: Precision
    way: Way | None
    """None where nothing here runs it."""
    num_bytes: int
    artefact: Artefact | None = None
    problem: str | None = None
    """Why it does not run here."""
    auto: bool = False
    """Whether it is what the runtime auto takes in this precision."""
    seconds: dict[int, float] = field(default_factory=dict)
    """A picture, by the number of pictures in a call."""


class Benchmark(Frozen):
    """Run a YOLO in every way that its exports allow here, and print one table.

    The time is that of the network alone, from uint8 pictures to tensors. Parity and size are
    those of the exports, which `lakesight export` makes. Wants the machine to itself.

    Examples:
      lakesight benchmark my-model/
      lakesight benchmark my-model/ --pictures photos/ --seconds 5 --json
    """

    model: CliPositionalArg[str]
    """A model folder, or a catalog name."""
    pictures: str | None = None
    """Pictures to run on, as of export; generated scenes unless given."""
    seconds: float = Field(default=1.0, gt=0)
    """How long each round of a way lasts; there are three, by turns, and the best counts."""
    run_code: bool = False
    """Time exports too that are machine code (aotinductor): opening one runs it, so do this with
    folders that you trust."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a way."""

    def run(self) -> int:
        """Measure and print; return 0."""
        card = catalog.resolve(self.model)
        rows = measured(card, self._views(card), self.seconds, run_code=self.run_code)
        if self.json_output:
            for row in rows:
                print(json.dumps(plain(row)))
        else:
            print_table(card, rows)
        return 0

    def _views(self, card: ModelCard) -> Sequence[Image]:
        with TemporaryDirectory(prefix="lakesight-benchmark-") as scratch:
            source = open_source(card, Path(scratch))
            if self.pictures is None:
                return pictures.scenes(source, (max(BATCHES), 0), VIEWS_SEED).views
            return pictures.given(self.pictures, source.view, source.contract, max(BATCHES)).views


def measured(
    card: ModelCard, views: Sequence[Image], round_s: float, *, run_code: bool = False
) -> list[Row]:
    """Return every way to run a card's network here, timed by turns; code only if `run_code`."""
    rows = list(_rows(card, run_code=run_code))
    runtimes = dict(_opened(card, rows))
    for batch in BATCHES:
        for number, seconds in seconds_per_picture(runtimes, views, batch, round_s).items():
            rows[number].seconds[batch] = seconds
    return rows


def _rows(card: ModelCard, *, run_code: bool) -> Iterator[Row]:
    """Yield the weights on torch, and every export on every engine of this machine."""
    folder = stage(card)
    size = (folder / WEIGHTS).stat().st_size
    for engine in ENGINES:
        if engine.runtime == "torch" and engine.here():
            for precision in engine.precisions:
                yield _marked(card, Row("weights", precision, Way(engine, None), size))
    for artefact in card.artefacts:
        here = [engine for engine in readers(artefact.main) if engine.here()]
        size = num_bytes(card, artefact)
        about = (artefact.name, artefact.precision)
        for engine in here:
            if engine.runs_code and not run_code:
                yield Row(*about, None, size, artefact, "it is machine code: --run-code runs it")
            else:
                yield _marked(card, Row(*about, Way(engine, artefact), size, artefact))
        if not here:
            installs = [engine.install for engine in readers(artefact.main)]
            problem = " or ".join(dict.fromkeys(installs)) or "nothing on this system reads it"
            yield Row(*about, None, size, artefact, problem)


def _marked(card: ModelCard, row: Row) -> Row:
    row.auto = choose_way(card, "auto", row.precision) == row.way
    return row


def _opened(card: ModelCard, rows: Sequence[Row]) -> Iterator[tuple[int, Runtime]]:
    """Yield the runtimes of those that run, by number; what fails is told in its row."""
    folder = stage(card)
    for number, row in enumerate(rows):
        if row.way is None:
            continue
        try:
            options = RuntimeOptions(precision=row.precision)
            yield number, open_way(row.way, card, folder, options)
        except (UserError, RuntimeError) as error:
            row.problem = str(error).partition("\n")[0]


def print_table(card: ModelCard, rows: Sequence[Row]) -> None:
    """Print the table, and what auto takes."""
    table = [dict(zip(SHOWN, _cells(row), strict=True)) for row in rows]
    write_aligned(table, SHOWN, sys.stdout)
    way = choose_way(card)
    taken = way.artefact.name if way.artefact else "the weights"
    print(f"auto takes {taken} on {way.engine.runtime}: {why(way, 'auto')}")
    timed = [row for row in rows if row.precision == "f32" and row.seconds and _is_ours(row)]
    fastest = min(timed, key=lambda row: row.seconds[max(BATCHES)])
    chosen = next(row for row in timed if row.way == way)
    if chosen.seconds[max(BATCHES)] > MUCH_SLOWER * fastest.seconds[max(BATCHES)]:
        print(f"measured here just now, {_where(fastest)} as {fastest.name} is faster in f32")


def _is_ours(row: Row) -> bool:
    """Return whether the runtime auto could take it."""
    return not (row.artefact and row.artefact.suppressed)


def _cells(row: Row) -> list[Any]:
    parity = row.artefact.parity if row.artefact else None
    one, eight = (row.seconds.get(batch) for batch in BATCHES)
    plain = row.precision == "f32" or row.artefact is not None
    return [
        row.name if plain else f"{row.name}, {row.precision}",
        _where(row),
        f"{row.num_bytes / 1e6:.1f}",
        "" if parity is None or parity.box_px is None else f"{parity.box_px:.2g}",
        _loss(row),
        f"{one * 1000:.1f}" if one else "",
        f"{1 / one:.1f}" if one else "",
        f"{1 / eight:.1f}" if eight else "",
        row.precision if row.auto else "",
    ]


def _where(row: Row) -> str:
    if row.problem or row.way is None:
        return f"no: {row.problem}"
    return f"{row.way.engine.runtime}, {row.way.engine.device}"


def _loss(row: Row) -> str:
    parity = row.artefact.parity if row.artefact else None
    if parity is None or parity.map_before is None or parity.map_after is None:
        return ""
    return f"{parity.map_before - parity.map_after:.4f}"


def plain(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    parity = row.artefact.parity if row.artefact else None
    one, eight = (row.seconds.get(batch) for batch in BATCHES)
    return {
        "export": row.name,
        "precision": row.precision,
        "runtime": row.way.engine.runtime if row.way else None,
        "device": row.way.engine.device if row.way else None,
        "problem": row.problem,
        "bytes": row.num_bytes,
        "parity": parity.model_dump() if parity else None,
        "ms": one and round(one * 1000, 3),
        "images_s": one and round(1 / one, 1),
        "images_s_in_eights": eight and round(1 / eight, 1),
        "auto": row.auto,
    }
