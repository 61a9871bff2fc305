"""`lakesight export MODEL --format onnx --format openvino-int8`: other engines' files of a YOLO."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from lakesight.errors import UserError
from lakesight.exporting.formats import FORMATS, Wanted, parse
from lakesight.exporting.judge import ExportError
from lakesight.exporting.run import Export as Exported
from lakesight.exporting.run import ExportOptions, open_exporter
from lakesight.models.base import Frozen, Precision
from lakesight.models.detection import NmsOptions

ALL = "all"


class Export(Frozen):
    """Write a YOLO model folder as files of other engines, each held against its weights.

    The exports and a parity report each lie in the model's folder (or in OUTPUT, a copy of it)
    under exports/, and its card names them: annotate and load then take the fastest that runs.
    An export that is not as good as the weights fails with the number, and leaves nothing.

    Examples:
      lakesight export my-model/ --format onnx --format openvino
      lakesight export my-model/ --format openvino-int8 --calibration photos/ --pictures data.yaml
      lakesight export starter-yolo-detect exported/ --format all
      lakesight export my-model/ --list
    """

    model: CliPositionalArg[str]
    """A model folder, or a catalog name with an OUTPUT."""
    output: CliPositionalArg[Path | None] = None
    """A folder that becomes a copy of the model with the exports; the model's own unless given."""
    format: tuple[str, ...] = ()
    """A format by name, such as onnx, or with its precision, openvino-int8; repeat it. all: each
    that what is installed here can write."""
    precision: Precision | None = None
    """Of formats that are named without one; each one's own default unless given."""
    pictures: str | None = None
    """Pictures to compare on: labelled data (its split val, for mAP too), a Lakesight output, or
    a source as of annotate. Generated scenes unless given."""
    calibration: str | None = None
    """Pictures that int8 takes its ranges from; those of --pictures, else generated scenes."""
    num_views: int = Field(default=16, ge=1)
    """Pictures whose numbers are compared one by one."""
    num_labelled: int = Field(default=200, ge=0)
    """Generated scenes for mAP, where the model's classes are theirs; 0 leaves mAP out."""
    num_calibration: int = Field(default=128, ge=1)
    """Pictures that int8 takes its ranges from."""
    max_map_loss: float = Field(default=0.01, ge=0)
    """mAP50-95 (of a classifier, top-1) that an export may lose against the weights."""
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    """Inside onnx-nms: objects that score less are left out."""
    iou_threshold: float = Field(default=0.6, ge=0, le=1)
    """Inside onnx-nms: of two boxes of a class that overlap by more, the lower score goes."""
    max_detections: int = Field(default=300, ge=1)
    """Inside onnx-nms: the most objects of a picture."""
    list_formats: bool = Field(default=False, alias="list")
    """Print what there is to export to, and what is missing here; export nothing."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a format."""

    def run(self) -> int:
        """Export format by format; return 0 if every one was written, else 1."""
        if self.list_formats:
            return _list(as_json=self.json_output)
        wanted = self._wanted()
        logging.getLogger("lakesight.exporting").setLevel(logging.INFO)
        failed = []
        with open_exporter(self.model, wanted, self.output, self._options()) as exporter:
            for one in wanted:
                try:
                    self._print(exporter.export(one))
                except ExportError as error:
                    failed.append(one.name)
                    print(f"lakesight: {error}", file=sys.stderr)
            folder = exporter.folder
        if not self.json_output:
            print(f"wrote {len(wanted) - len(failed)} of {len(wanted)} exports into {folder}")
        return 1 if failed else 0

    def _wanted(self) -> list[Wanted]:
        """Return every format that was named, each once."""
        if not self.format:
            raise UserError(f"name at least one --format: {', '.join(FORMATS)}, or all")
        if ALL in self.format:
            return [parse(name) for name, one in FORMATS.items() if one.missing() is None]
        found = [parse(name, self.precision) for name in self.format]
        return list({one.name: one for one in found}.values())

    def _options(self) -> ExportOptions:
        nms = NmsOptions(
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
        )
        shared = ExportOptions.model_fields.keys() - {"nms"}
        return ExportOptions(**{name: getattr(self, name) for name in shared}, nms=nms)

    def _print(self, done: Exported) -> None:
        artefact, parity = done.artefact, done.artefact.parity
        if self.json_output:
            row = {"name": artefact.name, "bytes": done.num_bytes, "report": str(done.report)}
            told = parity.model_dump() if parity else None
            print(json.dumps({**row, "main": artefact.main, "parity": told}))
            return
        print(f"{artefact.name:<16} {done.num_bytes / 1e6:6.1f} MB  {_verdict(artefact.parity)}")


def _verdict(parity: Any) -> str:
    """Return how an export compares with its weights, in a line."""
    if parity is None:
        return "converted; nothing on this machine runs it"
    parts = [] if parity.box_px is None else [f"boxes within {parity.box_px:.2g} px"]
    parts.append(f"scores within {parity.score:.2g}")
    if parity.map_after is not None:
        parts.append(f"mAP {parity.map_before:.4f} to {parity.map_after:.4f}")
    return ", ".join(parts)


def _list(*, as_json: bool) -> int:
    for name, one in FORMATS.items():
        missing = one.missing()
        if as_json:
            row = {"name": name, "precisions": one.precisions, "missing": missing}
            print(json.dumps({**row, "tasks": one.tasks, "about": one.about}))
            continue
        state = f"needs {missing}: {one.install}" if missing else "can be written here"
        print(f"{name:<14} {', '.join(one.precisions):<22} {one.about}; {state}")
    return 0
