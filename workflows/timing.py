"""Every way to run a YOLO's network on this machine, timed one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lakesight.errors import UserError
from lakesight.models.artefact import stage
from lakesight.models.base import Artefact, Image, ModelCard, Precision
from lakesight.models.exported import Way, choose_way, num_bytes
from lakesight.models.yolo.folder import WEIGHTS
from lakesight.models.yolo.model import open_way
from lakesight.runtimes.base import RuntimeOptions
from lakesight.runtimes.engines import ENGINES, Engine, readers
from lakesight.runtimes.speed import seconds_per_picture

BATCHES = (1, 8)
LARGE = max(BATCHES)
MUCH_SLOWER = 1.1
"""Less than this is what two measurements of one runtime differ by."""


@dataclass
class Row:
    """One way to run the model, and what came of it."""

    name: str
    """Of the export, or `weights`."""
    precision: Precision
    way: Way | None
    """None where nothing here runs it."""
    artefact: Artefact | None = None
    problem: str | None = None
    """Why it does not run here."""
    auto: bool = False
    """Whether it is what the runtime auto takes in this precision."""
    num_bytes: int | None = None
    """None where its files are not what the card says."""
    seconds: dict[int, float] = field(default_factory=dict)
    """A picture, by the number of pictures in a call."""

    @property
    def on(self) -> str:
        """Return the runtime and its device; nothing where nothing runs it."""
        return f"{self.way.engine.runtime}, {self.way.engine.device}" if self.way else ""

    @property
    def label(self) -> str:
        """Return the name, and the precision where the name does not tell it."""
        told = self.precision == (self.artefact.precision if self.artefact else "f32")
        return self.name if told else f"{self.name}, {self.precision}"


@dataclass(frozen=True)
class Verdict:
    """What auto takes in a precision, beside the runtime that was the fastest."""

    taken: Row
    fastest: Row
    ratio: float
    """The time of auto's runtime over that of the fastest, each with the export it runs best."""

    def __str__(self) -> str:
        """Say it in a clause."""
        if self.ratio <= MUCH_SLOWER:
            return "the fastest measured here"
        other = f"{self.fastest.label} on {self.fastest.on}"
        return f"measured here, {other} is {self.ratio:.1f} times as fast"


def measured(
    card: ModelCard, views: Sequence[Image], round_s: float, *, run_code: bool = False
) -> list[Row]:
    """Return every way to run a card's network here, timed; what fails is told in its row.

    Each has the machine to itself: it is closed before the next is opened. What runs code that is
    in its file is left out unless `run_code`.
    """
    rows = list(_rows(card, run_code=run_code))
    for row in rows:
        try:
            _measure(card, row, views, round_s)
        except Exception as error:  # every engine has its own exceptions
            first = str(error).strip().partition("\n")[0]
            said = first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"
            row.problem = row.problem or said
    return rows


def verdicts(rows: Sequence[Row]) -> dict[Precision, Verdict]:
    """Return how auto did, by precision, of those in which what it takes could be timed."""
    found: dict[Precision, Verdict] = {}
    for precision in dict.fromkeys(row.precision for row in rows):
        timed = [row for row in rows if row.precision == precision and _is_comparable(row)]
        best: dict[str, Row] = {}
        for row in sorted(timed, key=lambda one: one.seconds[LARGE]):
            best.setdefault(row.on, row)
        for taken in (row for row in timed if row.auto):
            fastest = next(iter(best.values()))
            ratio = best[taken.on].seconds[LARGE] / fastest.seconds[LARGE]
            found[precision] = Verdict(taken, fastest, ratio)
    return found


def _is_comparable(row: Row) -> bool:
    """Return whether the network alone was timed: an export with NMS inside does more."""
    return LARGE in row.seconds and not (row.artefact and row.artefact.suppressed)


def _rows(card: ModelCard, *, run_code: bool) -> Iterator[Row]:
    """Yield the weights on torch, and every export on every engine of this machine."""
    for engine in ENGINES:
        if engine.runtime == "torch" and engine.here():
            for precision in engine.precisions:
                yield _marked(card, Row("weights", precision, Way(engine, None)))
    for artefact in card.artefacts:
        here = [engine for engine in readers(artefact.main) if engine.here()]
        for engine in here:
            yield from _on(card, engine, artefact, run_code=run_code)
        if not here:
            installs = [engine.install for engine in readers(artefact.main)]
            problem = " or ".join(dict.fromkeys(installs)) or "nothing on this system reads it"
            yield Row(artefact.name, artefact.precision, None, artefact, problem)


def _on(card: ModelCard, engine: Engine, artefact: Artefact, *, run_code: bool) -> Iterator[Row]:
    """Yield an export on an engine, in every precision that it computes."""
    if engine.runs_code and not run_code:
        problem = "opening it runs code that is in it: --run-code does"
        yield Row(artefact.name, artefact.precision, None, artefact, problem)
        return
    # torch's programs compute as they were saved; other engines choose where the file is in f32
    chosen = artefact.precision == "f32" and not engine.runs_code
    for precision in engine.precisions if chosen else (artefact.precision,):
        yield _marked(card, Row(artefact.name, precision, Way(engine, artefact), artefact))


def _marked(card: ModelCard, row: Row) -> Row:
    try:
        row.auto = choose_way(card, "auto", row.precision) == row.way
    except UserError:  # auto takes nothing in that precision: nobody compared what there is
        row.auto = False
    return row


def _measure(card: ModelCard, row: Row, views: Sequence[Image], round_s: float) -> None:
    folder = stage(card)
    row.num_bytes = _size(card, row, folder)
    if row.way is None:
        return
    # closed at the return: nothing else holds it
    runtime = open_way(row.way, card, folder, RuntimeOptions(precision=row.precision))
    for batch in BATCHES:
        row.seconds[batch] = seconds_per_picture(runtime, views, batch, round_s)


def _size(card: ModelCard, row: Row, folder: Path) -> int:
    if row.artefact is None:
        return (folder / WEIGHTS).stat().st_size
    return num_bytes(card, row.artefact)
