"""`lakesight benchmark MODEL`: every way to run a YOLO on this machine, how good and how fast."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from lakesight.exporting import pictures
from lakesight.exporting.formats import Wanted, all_here, parse
from lakesight.exporting.judge import ExportError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import open_exporter
from lakesight.exporting.source import check_yolo
from lakesight.models import catalog
from lakesight.models.base import Frozen, Image, ModelCard
from lakesight.models.exported import choose_way, why
from workflows.export import ALL
from workflows.tables import write_aligned
from workflows.timing import BATCHES, LARGE, Row, measured, verdicts

SHOWN = ("export", "on", "MB", "boxes px", "mAP loss", "ms", "images/s", "in eights", "auto")
UNJUDGED = ExportOptions(num_views=2, num_labelled=0, num_calibration=16, max_map_loss=1)
"""For exports that are only timed."""


class Benchmark(Frozen):
    """Run a YOLO in every way that its exports allow here, and print one table.

    The time is that of the network alone, from uint8 pictures to tensors; each way has the machine
    to itself, which should be so. Parity and size are those of the exports, which `lakesight
    export` makes. What fails is told in its row.

    Examples:
      lakesight benchmark my-model/
      lakesight benchmark starter-yolo-detect --export all
      lakesight benchmark my-model/ --pictures photos/ --seconds 5 --json
    """

    model: CliPositionalArg[str]
    """A model folder, or a catalog name."""
    export: tuple[str, ...] = ()
    """A format by name, as of export, to write into a temporary folder and time instead of the
    exports that there are; repeat it. all: each that can be written here, in f32."""
    pictures: str | None = None
    """Pictures to run on, as of export; generated scenes unless given."""
    images: str | None = None
    """Folder of the pictures that a COCO .json of --pictures names; its own folder unless given."""
    seconds: float = Field(default=1.0, gt=0)
    """How long each round of a way lasts; there are three a batch size, and the best counts."""
    run_code: bool = False
    """Time exports too that run code of their own when they are opened (torchscript, torch-export,
    aotinductor): do this with folders that you trust."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a way."""

    def run(self) -> int:
        """Measure and print; return 0."""
        given = catalog.resolve(self.model)
        check_yolo(given)
        with self._exported(given) as card:
            run_code = self.run_code or bool(self.export)  # what was written just now is ours
            rows = measured(card, self._views(card), self.seconds, run_code=run_code)
        if self.json_output:
            for row in rows:
                print(json.dumps(plain(row)))
            return 0
        print_table(card, rows)
        if not self.export and (missing := not_there(card)):
            print(f"not there: {', '.join(missing)}; `--export all` times them too, and to keep")
            print(f"them: lakesight export {self.model} --format {' --format '.join(missing)}")
        return 0

    def _exported(self, given: ModelCard) -> AbstractContextManager[ModelCard]:
        if not self.export:
            return nullcontext(given)
        found = [parse(name) for name in self.export if name != ALL]
        if ALL in self.export:
            found = [*all_here(check_yolo(given).task), *found]
        return with_exports(self.model, list({one.name: one for one in found}.values()))

    def _views(self, card: ModelCard) -> Sequence[Image]:
        contract = check_yolo(card)
        assert card.view is not None
        if self.pictures is None:
            return pictures.scene_views(card.view, LARGE, pictures.VIEWS_SEED)
        return pictures.given(self.pictures, card.view, contract, LARGE, images=self.images).views


@contextmanager
def with_exports(model: str, formats: Sequence[Wanted]) -> Iterator[ModelCard]:
    """Yield the card of a copy of a model with these exports, unjudged; it is removed afterwards.

    What cannot be exported is told, and left out.
    """
    with TemporaryDirectory(prefix="lakesight-benchmark-") as folder:
        with open_exporter(model, formats, folder, UNJUDGED) as exporter:
            for one in formats:
                try:
                    exporter.export(one)
                except ExportError as error:
                    print(f"lakesight: not exported: {error}", file=sys.stderr)
        yield catalog.resolve(folder)


def not_there(card: ModelCard) -> list[str]:
    """Return the formats that could be written here and that the model has no export in."""
    there = {artefact.name for artefact in card.artefacts if card.owns(artefact)}
    return [one.name for one in all_here(check_yolo(card).task) if one.name not in there]


def print_table(card: ModelCard, rows: Sequence[Row]) -> None:
    """Print the table, what auto takes, and whether that was the fastest."""
    table = [dict(zip(SHOWN, _cells(row), strict=True)) for row in rows]
    write_aligned(table, SHOWN, sys.stdout)
    found = verdicts(rows)
    for precision, verdict in found.items():
        way = f"{verdict.taken.name} on {verdict.taken.on}"
        reason = why(choose_way(card, "auto", precision), "auto")
        print(f"auto in {precision} takes {way}: {reason}; {verdict}")
    for row in rows:
        if row.auto and row.precision not in found:
            print(f"auto in {row.precision} takes {row.name} on {row.on}, which fails: see its row")


def _cells(row: Row) -> list[Any]:
    parity = _parity(row)
    one, eight = (row.seconds.get(batch) for batch in BATCHES)
    never = row.artefact is not None and row.artefact.parity is None
    boxes = "not compared" if never else ""
    return [
        row.label,
        f"no: {row.problem}" if row.problem else row.on,
        "" if row.num_bytes is None else f"{row.num_bytes / 1e6:.1f}",
        boxes if parity is None or parity.box_px is None else f"{parity.box_px:.2g}",
        _loss(row),
        f"{one * 1000:.1f}" if one else "",
        f"{1 / one:.1f}" if one else "",
        f"{1 / eight:.1f}" if eight else "",
        row.precision if row.auto else "",
    ]


def _parity(row: Row) -> Any:
    """Return how the export compares with the weights, in the precision that it was compared in."""
    told = row.artefact is not None and row.artefact.precision == row.precision
    return row.artefact.parity if row.artefact and told else None


def _loss(row: Row) -> str:
    parity = _parity(row)
    if parity is None or parity.map_before is None or parity.map_after is None:
        return ""
    return f"{parity.map_before - parity.map_after:.4f}"


def plain(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    parity = _parity(row)
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
