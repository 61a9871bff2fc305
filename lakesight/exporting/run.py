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
from lakesight.exporting.base import Source, first_line
from lakesight.exporting.formats import Wanted, parse
from lakesight.exporting.judge import ExportError, Judge
from lakesight.exporting.place import FOLDER, REPORT, held, put, writing
from lakesight.exporting.source import check_yolo, open_source
from lakesight.lake.uris import is_s3
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Artefact, Frozen, Image, ModelCard
from lakesight.models.detection import NmsOptions

log = logging.getLogger(__name__)

VIEWS_SEED, CALIBRATION_SEED = 1_000_001, 1_000_002
"""Of generated scenes; unlike those that anybody trains on."""


class ExportOptions(Frozen):
    """What exports are held against, and what is allowed."""

    pictures: str | None = None
    """Pictures to compare on: labelled data (its split val, for mAP too), a Lakesight output, or
    a source as of annotate. Generated scenes unless given."""
    calibration: str | None = None
    """Pictures that int8 takes its ranges from (of labelled data the split train); those of
    --pictures, else generated scenes."""
    num_views: int = Field(default=16, ge=1)
    """Pictures whose numbers are compared one by one."""
    num_labelled: int = Field(default=200, ge=0)
    """Generated scenes for mAP, where the model's classes are theirs; 0 leaves mAP out."""
    num_calibration: int = Field(default=128, ge=1)
    """Pictures that int8 takes its ranges from."""
    max_map_loss: float = Field(default=0.01, ge=0)
    """mAP50-95 (of a classifier, top-1) that an export may lose against the weights; 1 takes it
    whatever it loses."""
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    """Inside onnx-nms: objects that score less are left out."""
    iou_threshold: float = Field(default=0.6, ge=0, le=1)
    """Inside onnx-nms: of two boxes of a class that overlap by more, the lower score goes."""
    max_detections: int = Field(default=300, ge=1)
    """Inside onnx-nms: the most objects of a picture."""

    @property
    def nms(self) -> NmsOptions:
        """Return the thresholds of formats with NMS inside."""
        return NmsOptions(
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
        )


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
    _check_tasks(card, wanted)
    for one in wanted:
        one.format.load()
    with (
        held(card, output) as folder,
        tempfile.TemporaryDirectory(prefix="lakesight-export-") as work,
    ):
        source = replace(open_source(card, Path(work)), nms=options.nms)
        source = replace(source, calibration=_calibration(source, wanted, options))
        samples = _samples(source, options)
        _check_can_be_told(samples, wanted, options)
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


def _check_tasks(card: ModelCard, wanted: Sequence[Wanted]) -> None:
    task = check_yolo(card).task
    for one in wanted:
        if task not in one.format.tasks:
            raise UserError(
                f"{one.format.name} cannot hold a network of the task {task}, only "
                f"{', '.join(one.format.tasks)}"
            )


def _check_can_be_told(
    samples: pictures.Samples, wanted: Sequence[Wanted], options: ExportOptions
) -> None:
    """Raise UserError where an export would lose something, and nobody could tell how much."""
    lossy = [one for one in wanted if one.precision != "f32"]
    if not lossy or options.max_map_loss >= 1:
        return
    anyway = "take it as it is with --max-map-loss 1"
    for one in lossy:
        if not one.format.runs:
            raise UserError(
                f"what {one.name} loses cannot be told, for nothing that Lakesight knows runs it: "
                f"{anyway}, or export to {one.format.name}"
            )
    if samples.labelled is None:
        raise UserError(
            f"what {lossy[0].name} loses cannot be told without labels: name labelled pictures "
            f"with --pictures, or {anyway}"
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
