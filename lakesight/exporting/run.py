"""Exporting: convert, hold against the weights, and only then write into the model's folder."""

import json
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from lakesight.errors import UserError
from lakesight.exporting import yolo
from lakesight.exporting.base import Written, first_line
from lakesight.exporting.checks import check_runs, check_tasks
from lakesight.exporting.formats import Wanted, parse
from lakesight.exporting.judge import ExportError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.pictures import Samples
from lakesight.exporting.place import FOLDER, REPORT, held, put, writing
from lakesight.lake.uris import is_s3
from lakesight.models import catalog, families
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Artefact, ModelCard, Parity, PartsParity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """An export that is in the model's folder now."""

    artefact: Artefact
    num_bytes: int
    seconds: float
    report: str
    """Path, or URI, of its report."""


class Subject(Protocol):
    """A model that is exported, opened: how it is written, and whether that is as good."""

    @property
    def card(self) -> ModelCard:
        """Return what is known of it."""
        ...

    @property
    def samples(self) -> Samples:
        """Return what it is compared on."""
        ...

    def convert(self, wanted: Wanted, part: Path) -> Written:
        """Write an export into an empty folder."""
        ...

    def judge(
        self, artefact: Artefact, folder: Path
    ) -> tuple[Parity | PartsParity | None, dict[str, Any]]:
        """Return the verdict on an export, and by engine all that was measured; or ExportError."""
        ...

    def told(self, artefact: Artefact) -> dict[str, Any]:
        """Return what else a report says of how an export was made and judged."""
        ...


@dataclass(frozen=True)
class Exporter:
    """A model folder that is held to be exported into; `open_exporter` makes it."""

    folder: Path
    where: str
    """What the user calls the folder: a path, or the URI that it is published to in the end."""
    subject: Subject

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
            artefact = _converted(wanted, self.subject, part)
            seconds = time.perf_counter() - start
            found, measured = self.subject.judge(artefact, part)
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
        subject = self.subject
        return {
            "model": subject.card.name,
            "weights": subject.card.sha256,
            "format": wanted.format.name,
            "precision": wanted.precision,
            "pictures": subject.samples.what,
            "num_views": len(subject.samples.views),
            **subject.told(artefact),
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
    if families.is_checkpoint(card):
        from lakesight.exporting.blip2 import subject as blip2

        blip2.check(card, wanted)
    else:
        check_tasks(card, wanted)
        check_runs(wanted, options)
    for one in wanted:
        one.format.check_here()
    with (
        held(card, output) as folder,
        tempfile.TemporaryDirectory(prefix="lakesight-export-") as work,
    ):
        subject = _opened(card, wanted, options, Path(work))
        where = output.rstrip("/") if output is not None and is_s3(output) else str(folder)
        yield Exporter(folder, where, subject)


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


def _opened(
    card: ModelCard, wanted: Sequence[Wanted], options: ExportOptions, scratch: Path
) -> Subject:
    if families.is_checkpoint(card):
        from lakesight.exporting.blip2 import subject as blip2

        return blip2.open_subject(card, options, scratch)
    return yolo.open_subject(card, wanted, options, scratch)


def _converted(wanted: Wanted, subject: Subject, part: Path) -> Artefact:
    try:
        written = subject.convert(wanted, part)
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
        of=subject.card.checkpoint if written.parts else subject.card.network,
        layout=written.layout,
        suppressed=written.suppressed,
        parts=written.parts,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
