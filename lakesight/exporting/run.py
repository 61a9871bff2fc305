"""Exporting: convert, hold against the weights, and only then write into the model's folder."""

import json
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import Field

from lakesight.errors import UserError
from lakesight.exporting import pictures
from lakesight.exporting.base import Source
from lakesight.exporting.formats import Wanted, parse
from lakesight.exporting.judge import ExportError, Judge
from lakesight.exporting.place import FOLDER, held, place
from lakesight.exporting.source import open_source
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Artefact, Frozen, Image
from lakesight.models.detection import NmsOptions

log = logging.getLogger(__name__)

REPORT = "report.json"
VIEWS_SEED, CALIBRATION_SEED = 1_000_001, 1_000_002
"""Of generated scenes; unlike those that anybody trains on."""


class ExportOptions(Frozen):
    """What exports are held against, and what is allowed."""

    pictures: str | None = None
    """Pictures to compare on, labelled or not; generated scenes unless given."""
    calibration: str | None = None
    """Pictures that int8 takes its ranges from; `pictures`, or else generated scenes."""
    num_views: int = Field(default=16, ge=1)
    """Pictures whose tensors are compared."""
    num_labelled: int = Field(default=200, ge=0)
    """Generated scenes that mAP is measured on, where the classes are theirs; 0: it is not."""
    num_calibration: int = Field(default=128, ge=1)
    """Pictures that int8 takes its ranges from."""
    max_map_loss: float = Field(default=0.01, ge=0)
    """mAP50-95 (or top-1) that an export may lose."""
    nms: NmsOptions = Field(default_factory=NmsOptions)
    """Thresholds of formats with NMS inside."""


@dataclass(frozen=True)
class Export:
    """An export that is in the model's folder now."""

    artefact: Artefact
    num_bytes: int
    seconds: float
    report: Path


@dataclass(frozen=True)
class Exporter:
    """A model folder that is held to be exported into; `open_exporter` makes it."""

    folder: Path
    judge: Judge
    options: ExportOptions

    def export(self, wanted: Wanted) -> Export:
        """Write one export beside its place, judge it, put it there, and name it in the card.

        It is there, whole, or nothing of it is. Raises ExportError where it cannot be converted,
        or is not as good as the weights.
        """
        part = self.folder / FOLDER / f".{wanted.name}.{uuid4().hex}"
        part.mkdir(parents=True)
        start = time.perf_counter()
        try:
            artefact = _converted(wanted, self.judge.source, self.judge.card.network, part)
            seconds = time.perf_counter() - start
            found, measured = self.judge.judge(artefact, part)
            artefact = artefact.model_copy(update={"parity": found})
            report = self._report(wanted, artefact, measured) | {"convert_s": round(seconds, 2)}
            (part / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            placed = place(artefact, part, self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        size = sum((self.folder / name).stat().st_size for name in placed.files)
        return Export(placed, size, seconds, self.folder / FOLDER / wanted.name / REPORT)

    def _report(
        self, wanted: Wanted, artefact: Artefact, measured: dict[str, Any]
    ) -> dict[str, Any]:
        """Return all that is known of how an export was made, and how good it is."""
        judge, calibration = self.judge, self.judge.source.calibration
        return {
            "model": judge.card.name,
            "weights": judge.card.sha256,
            "format": wanted.format.name,
            "precision": wanted.precision,
            "pictures": judge.samples.what,
            "num_views": len(judge.samples.views),
            "num_calibration": len(calibration) if wanted.precision == "int8" else 0,
            "max_map_loss": self.options.max_map_loss,
            "nms": judge.source.nms.model_dump(exclude={"precision"})
            if artefact.suppressed
            else None,
            "engines": measured or "none of this machine reads it: it was converted, not run",
            "versions": {name: _version(name) for name in ("torch", *wanted.format.packages)},
            "machine": f"{platform.system()} {platform.machine()}",
        }


@contextmanager
def open_exporter(
    model: str, wanted: Sequence[Wanted], output: Path | None, options: ExportOptions
) -> Iterator[Exporter]:
    """Yield what exports a model folder, or a copy of it in `output`, to these formats.

    Raises UserError for what is known to be impossible before the first one.
    """
    for one in wanted:
        one.format.load()
    with (
        held(catalog.resolve(model), output) as folder,
        tempfile.TemporaryDirectory(prefix="lakesight-export-") as work,
    ):
        card = catalog.resolve(str(folder))
        source = replace(open_source(card, Path(work)), nms=options.nms)
        _check_tasks(source, wanted)
        source = replace(source, calibration=_calibration(source, wanted, options))
        samples = _samples(source, options)
        _check_can_be_told(samples, wanted, options)
        judge = Judge(card, source, samples, options.max_map_loss)
        yield Exporter(folder, judge, options)


def export(
    model: str,
    formats: Sequence[str],
    output: Path | None = None,
    options: ExportOptions | None = None,
) -> list[Export]:
    """Export a model to formats by name, such as `onnx` and `openvino-int8`; the Python API.

    Raises UserError for what cannot be, and ExportError for the first export that is not as good
    as the weights.
    """
    wanted = [parse(name) for name in formats]
    with open_exporter(model, wanted, output, options or ExportOptions()) as exporter:
        return [exporter.export(one) for one in wanted]


def _check_tasks(source: Source, wanted: Sequence[Wanted]) -> None:
    for one in wanted:
        if source.contract.task not in one.format.tasks:
            raise UserError(
                f"{one.format.name} cannot hold a network of the task {source.contract.task}, only "
                f"{', '.join(one.format.tasks)}"
            )


def _check_can_be_told(
    samples: pictures.Samples, wanted: Sequence[Wanted], options: ExportOptions
) -> None:
    """Raise UserError where an export would lose something, and nobody could tell how much."""
    lossy = [one.name for one in wanted if one.precision != "f32"]
    if lossy and samples.labelled is None and options.max_map_loss < 1:
        raise UserError(
            f"what {lossy[0]} loses cannot be told without labels: name labelled pictures with "
            "--pictures, or take it as it is with --max-map-loss 1"
        )


def _samples(source: Source, options: ExportOptions) -> pictures.Samples:
    if options.pictures is not None:
        return pictures.given(options.pictures, source.view, source.contract, options.num_views)
    counts = options.num_views, options.num_labelled
    return pictures.scenes(source, counts, VIEWS_SEED)


def _calibration(
    source: Source, wanted: Sequence[Wanted], options: ExportOptions
) -> Sequence[Image]:
    """Return the views for int8, where it is wanted."""
    if all(one.precision != "int8" for one in wanted):
        return ()
    uri = options.calibration or options.pictures
    if uri is not None:
        return pictures.given(uri, source.view, source.contract, options.num_calibration).views
    log.warning("int8 takes its ranges from generated scenes: --calibration names your pictures")
    return pictures.scenes(source, (options.num_calibration, 0), CALIBRATION_SEED).views


def _converted(wanted: Wanted, source: Source, of: str, part: Path) -> Artefact:
    convert = wanted.format.load()
    try:
        written = convert(replace(source, precision=wanted.precision), part)
    except UserError as error:
        raise ExportError(str(error)) from error
    except Exception as error:  # every converter has its own exceptions
        log.debug("%s", wanted.name, exc_info=True)
        first = str(error).strip().partition("\n")[0]
        what = f"{type(error).__name__}: {first}"
        raise ExportError(f"{wanted.name} could not be converted: {what}") from error
    files = sorted(path for path in part.rglob("*") if path.is_file())
    return Artefact(
        format=wanted.format.name,
        precision=wanted.precision,
        main=written.main,
        files={path.relative_to(part).as_posix(): sha256_of(path) for path in files},
        of=of,
        layout=written.layout,
        suppressed=written.suppressed,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
