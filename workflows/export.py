"""`lakesight export MODEL --format onnx --format openvino-int8`: files for other engines."""

import json
import logging
import sys

from pydantic import Field
from pydantic_settings import CliPositionalArg

from lakesight.errors import UserError
from lakesight.exporting.formats import FORMATS, Wanted, all_here, all_in_parts, parse
from lakesight.exporting.judge import ExportError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import Done, Exporter, open_exporter
from lakesight.exporting.source import check_yolo
from lakesight.models import catalog, families
from lakesight.models.base import Parity, PartsParity, Precision

ALL = "all"


class Export(ExportOptions):
    """Write a model folder as files of other engines, each held against its weights.

    The model is a YOLO, or a BLIP-2 that captions, answers or retrieves, which is written as onnx;
    onnx-int8 and onnx-int4 have such weights in its language model.

    The exports and a parity report each lie in the model's folder (or in OUTPUT, a copy of it)
    under exports/, and its card names them: annotate and load then take the fastest that runs.
    An export that is not as good as the weights fails with the number, and leaves nothing; the
    others are written all the same.

    Examples:
      lakesight export my-model/ --format onnx --format openvino
      lakesight export my-model/ --format openvino-int8 --calibration photos/ --pictures data.yaml
      lakesight export starter-yolo-detect exported/ --format all
      lakesight export starter-yolo-detect s3://bucket/exported/ --format openvino
      lakesight export my-writer/ --format onnx --format onnx-int8 --pictures photos/
      lakesight export --list
    """

    model: CliPositionalArg[str | None] = None
    """A model folder, or a catalog name with an OUTPUT."""
    output: CliPositionalArg[str | None] = None
    """A folder or s3:// prefix that becomes a copy of the model with the exports; the model's own
    folder unless given."""
    format: tuple[str, ...] = ()
    """A format by name, such as onnx, or with its precision, openvino-int8; repeat it. all: each
    that holds the model's task and that what is installed here can write."""
    precision: Precision | None = None
    """Of formats that are named without one, and of all; f32 unless given."""
    list_formats: bool = Field(default=False, alias="list")
    """Print what there is to export to, and what is missing here; export nothing."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a format."""

    def run(self) -> int:
        """Export format by format; return 0 if every one was written, else 1."""
        if self.list_formats:
            return _list(as_json=self.json_output)
        if self.model is None:
            raise UserError("name a MODEL: a model folder, or a catalog name with an OUTPUT")
        wanted = self._wanted(self.model)
        logging.getLogger("lakesight.exporting").setLevel(logging.INFO)
        with open_exporter(self.model, wanted, self.output, self) as exporter:
            written = [self._written(exporter, one) for one in wanted]
        if not self.json_output:
            print(f"wrote {sum(written)} of {len(wanted)} exports into {exporter.where}")
        return 0 if all(written) else 1

    def _wanted(self, model: str) -> list[Wanted]:
        """Return every format that was named, each once."""
        if not self.format:
            raise UserError(f"name at least one --format: {', '.join(FORMATS)}, or all")
        found = [parse(name, self.precision) for name in self.format if name != ALL]
        if ALL in self.format:
            found = [*self._all(model), *found]
        return list({one.name: one for one in found}.values())

    def _all(self, model: str) -> list[Wanted]:
        """Return what `all` means for a model; tell what of it nobody could judge."""
        card = catalog.resolve(model)
        if families.is_checkpoint(card):
            return all_in_parts(self.precision)
        every = all_here(check_yolo(card).task, self.precision)
        if not every:
            raise UserError(f"no format that can be written here has {self.precision}")
        if self.precision in (None, "f32") or self.max_map_loss >= 1:
            return every
        for one in every:
            if not one.format.runs:
                print(
                    f"lakesight: {one.name} is left out: nothing runs it, so what it loses cannot "
                    "be told (--max-map-loss 1)",
                    file=sys.stderr,
                )
        return [one for one in every if one.format.runs]

    def _written(self, exporter: Exporter, wanted: Wanted) -> bool:
        """Export to one format and tell how that went; return whether it is there."""
        try:
            self._print(exporter.export(wanted))
        except ExportError as error:
            if self.json_output:
                print(json.dumps({"name": wanted.name, "error": str(error)}))
            print(f"lakesight: {error}", file=sys.stderr)
            return False
        return True

    def _print(self, done: Done) -> None:
        artefact, parity = done.artefact, done.artefact.parity
        if self.json_output:
            row = {"name": artefact.name, "bytes": done.num_bytes, "report": done.report}
            told = parity.model_dump() if parity else None
            print(json.dumps({**row, "main": artefact.main, "parity": told, "error": None}))
            return
        print(f"{artefact.name:<16} {done.num_bytes / 1e6:6.1f} MB  {verdict(parity)}")


def verdict(parity: Parity | PartsParity | None) -> str:
    """Return how an export compares with its weights, in a clause."""
    if parity is None:
        return "converted; nothing on this machine runs it"
    if isinstance(parity, PartsParity):
        return _verdict_of_parts(parity)
    pictures = f"{parity.num_views} pictures"
    if not parity.num_seen:
        return f"no object seen on {pictures}: name some of yours with --pictures"
    parts = [] if parity.box_px is None else [f"boxes within {parity.box_px:.2g} px"]
    seen = "" if parity.box_px is None else f" ({parity.num_seen} anchors of {pictures})"
    parts.append(f"scores within {parity.score:.2g}{seen}")
    if parity.map_after is not None:
        parts.append(f"mAP {parity.map_before:.4f} to {parity.map_after:.4f}")
    return ", ".join(parts)


def _verdict_of_parts(parity: PartsParity) -> str:
    name, largest = max(parity.parts.items(), key=lambda part: part[1])
    same = [f"{share:.0%} of {search} captions the same" for search, share in parity.same.items()]
    what = ", ".join([f"{name} within {largest:.2g} of their range", *same])
    return f"{what} ({parity.num_views} pictures)"


def _list(*, as_json: bool) -> int:
    for name, one in FORMATS.items():
        missing = one.missing()
        if as_json:
            row = {"name": name, "precisions": one.every_precision, "missing": missing}
            print(json.dumps({**row, "tasks": one.tasks, "about": one.about}))
            continue
        state = f"needs {missing}: {one.install}" if missing else "can be written here"
        print(f"{name:<14} {', '.join(one.every_precision):<22} {one.about}; {state}")
    return 0
