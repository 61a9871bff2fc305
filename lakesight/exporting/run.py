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

from lakesight.errors import UserError
from lakesight.exporting import pictures
from lakesight.exporting.base import Source, first_line
from lakesight.exporting.checks import check_labels, check_runs, check_tasks
from lakesight.exporting.formats import Wanted, parse
from lakesight.exporting.judge import ExportError, Judge
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.place import FOLDER, REPORT, held, put, writing
from lakesight.exporting.source import open_source
from lakesight.lake.uris import is_s3
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Artefact, Image

log = logging.getLogger(__name__)

VIEWS_SEED, CALIBRATION_SEED = 1_000_001, 1_000_002
"""Of generated scenes; unlike those that anybody trains on."""


@dataclass(frozen=True)
class Done:
    """An export that is in the model's folder now."""

    artefact: Artefact
    num_bytes: int
    seconds: float
    report: str
    """Path, or URI, of its report."""


@dataclass(frozen=True)
class Exporter:
    """A model folder that is held to be exported into; `open_exporter` makes it."""

    folder: Path
    where: str
    """What the user calls the folder: a path, or the URI that it is published to in the end."""
    judge: Judge
    options: ExportOptions

    def export(self, wanted: Wanted) -> Done:
        """Write one export beside its place, judge it, put it there, and name it in the card.

        It is there, whole, or nothing of it is. Raises ExportError where it cannot be converted,
        or is not as good as the weights.
        """
        part = self.folder / FOLDER / f".{wanted.name}.{uuid4().hex}"
        with writing(self.folder):
            part.mkdir(parents=True)
        start = time.perf_counter()
        try:
            artefact = _converted(wanted, self.judge.source, self.judge.card.network, part)
            seconds = time.perf_counter() - start
            found, measured = self.judge.judge(artefact, part)
            artefact = artefact.model_copy(update={"parity": found})
            report = self._report(wanted, artefact, measured) | {"convert_s": round(seconds, 2)}
            with writing(self.folder):
                text = json.dumps(report, indent=2) + "\n"
                (part / REPORT).write_text(text, encoding="utf-8")
                placed = put(artefact, part, self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        size = sum((self.folder / name).stat().st_size for name in placed.files)
        home = "/".join(placed.main.split("/")[:2])
        return Done(placed, size, seconds, f"{self.where}/{home}/{REPORT}")

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
    model: str, wanted: Sequence[Wanted], output: str | None, options: ExportOptions
) -> Iterator[Exporter]:
    """Yield what exports a model folder, or a copy of it in `output`, to these formats.

    `output` may be an s3:// prefix: it is published when the context ends well. Raises UserError
    for what is known to be impossible before the first one.
    """
    card = catalog.resolve(model)
    check_tasks(card, wanted)
    check_runs(wanted, options)
    for one in wanted:
        one.format.load()
    with (
        held(card, output) as folder,
        tempfile.TemporaryDirectory(prefix="lakesight-export-") as work,
    ):
        source = replace(open_source(card, Path(work)), nms=options.nms)
        source = replace(source, calibration=_calibration(source, wanted, options))
        samples = _samples(source, options)
        check_labels(samples, wanted, options)
        judge = Judge(card, source, samples, options.max_map_loss)
        where = output.rstrip("/") if output is not None and is_s3(output) else str(folder)
        yield Exporter(folder, where, judge, options)


def export(
    model: str,
    formats: Sequence[str],
    output: str | Path | None = None,
    options: ExportOptions | None = None,
) -> list[Done]:
    """Export a model to formats by name, such as `onnx` and `openvino-int8`; the Python API.

    Raises UserError for what cannot be, and ExportError for the first export that is not as good
    as the weights.
    """
    wanted = [parse(name) for name in formats]
    place = None if output is None else str(output)
    with open_exporter(model, wanted, place, options or ExportOptions()) as exporter:
        return [exporter.export(one) for one in wanted]


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
        if uri == options.pictures and uri.endswith(".json"):
            log.warning("int8 takes its ranges from the pictures that judge it: --calibration")
        return pictures.given(
            uri, source.view, source.contract, options.num_calibration, split="train"
        ).views
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
        raise ExportError(f"{wanted.name} could not be converted: {first_line(error)}") from error
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
