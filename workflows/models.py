"""`lakesight models list`, `lakesight models show NAME`, `lakesight models import FILE FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg, CliSubCommand, get_subcommand

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.availability import availability, num_bytes, num_parameters, origin
from lakesight.models.base import Frozen, Kind, ModelCard
from lakesight.models.yolo_import import Answers, import_yolo
from lakesight.models.yolo_onnx import Head
from workflows import tables

SHOWN = ["name", "kinds", "source", "weights", "data", "size", "parameters", "here"]
"""The columns of the list; `weights` and `data` are licences."""


class List(Frozen):
    """List the built-in models: kind, source, licences, size, and whether each runs here.

    Hub models need no list: `--embed hf:OWNER/REPO@REVISION` names any that a family can build.

    Example:
      lakesight models list --json
    """

    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a model."""

    def run(self) -> int:
        """Print the table; return 0."""
        rows = [_row(card) for card in catalog.built_in().values()]
        if self.json_output:
            tables.write_json_lines(rows, sys.stdout)
            return 0
        for row in rows:
            if row["language_model"]:
                row["weights"] += f", language model {row['language_model']}"
            row["kinds"] = ", ".join(row["kinds"])
            row["size"] = _size(row.pop("bytes"))
            row["parameters"] = _millions(row["parameters"])
            row["here"] = row.pop("how") if row.pop("runs") else f"no: {row.pop('how')}"
        tables.write_aligned(rows, SHOWN, sys.stdout)
        for why in catalog.UNSUPPORTED.values():
            print(f"\n{why}.")
        return 0


class Show(Frozen):
    """Show all that is known of one model: its card, its options, whether it runs here.

    Examples:
      lakesight models show efficientnet-lite3
      lakesight models show ./my-model --json
      lakesight models show ./blip2 --kind answer
    """

    name: CliPositionalArg[str]
    """A catalog name, a model folder (local or s3://), or hf:OWNER/REPO@REVISION."""
    kind: Kind | None = None
    """Which of its kinds, where it has several; its own unless given."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object."""

    def run(self) -> int:
        """Print the card; return 0."""
        card = catalog.resolve(self.name, self.kind)
        if self.json_output:
            print(json.dumps({**_row(card), "card": card.model_dump(), "options": _options(card)}))
            return 0
        self._print(card)
        return 0

    def _print(self, card: ModelCard) -> None:
        row = _row(card)
        print(f"{card.name}  ({', '.join(row['kinds'])}; {card.family})")
        print(card.provenance)
        for name, value in _facts(card, row).items():
            print(f"  {name:<15} {value}")
        print("Options, as --set KIND.OPTION=VALUE:")
        for option in _options(card):
            print(f"  {option['name']} = {option['default']}  {option['help']}")


class Import(Frozen):
    """Make a model folder of a YOLO .onnx or .pt file: the weights, their digests, a card.

    What an ONNX output means is told by its shape, or by --head; a checkpoint's task, size and
    classes by its tensors. What is not certain is refused. Nothing inside a .pt is run.

    Example:
      lakesight models import best.onnx my-model/ --licence Apache-2.0
      lakesight models import best.pt my-model/ --licence AGPL-3.0-only
      lakesight annotate photos/ seen/ --detect my-model/
    """

    file: CliPositionalArg[Path]
    """A YOLO detector exported to ONNX at a fixed input size, or a YOLO checkpoint (.pt) of any
    task in the public v8 layout."""
    folder: CliPositionalArg[Path]
    """The folder to make; new or empty."""
    licence: str
    """SPDX id of the weights' licence, such as Apache-2.0. You state it: a file cannot be trusted
    to."""
    data_licence: str = "unknown"
    """SPDX id of the training data's licence; shown, not enforced."""
    labels: Path | None = None
    """A file with one class name a line; the file's own names unless given."""
    head: Head | None = None
    """v5 (objectness), v8 (transposed, none) or end2end (NMS inside), where the shape of an ONNX
    output fits many."""
    size: int | None = Field(default=None, ge=32)
    """Side of the input in pixels, where the file takes any."""
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name on the card; from the file's name unless given."""
    json_output: bool = Field(default=False, alias="json")
    """Print the card as JSON."""

    def run(self) -> int:
        """Write the folder and load the model once; return 0."""
        answers = Answers(
            licence=self.licence,
            data_licence=self.data_licence,
            labels=_lines(self.labels) if self.labels else None,
            head=self.head,
            size=self.size,
            name=self.name,
        )
        card = _imported(self.file, self.folder, answers)
        if self.json_output:
            print(card.model_dump_json())
            return 0
        assert card.labels is not None
        what = card.contract.get("task") or f"a {card.contract['head']} head"
        print(f"{card.name}: {what}, {len(card.labels)} classes")
        print(f"wrote {self.folder}; use it with --{card.kind} {self.folder}")
        return 0


class Models(Frozen):
    """List, show and import models.

    Examples:
      lakesight models list
      lakesight models show ssd-mobilenet-v2-coco
      lakesight models import best.onnx my-model/ --licence Apache-2.0
    """

    list: CliSubCommand[List]
    show: CliSubCommand[Show]
    import_: CliSubCommand[Import] = Field(alias="import")

    def run(self) -> int:
        """Run the chosen command, or list; return its exit code."""
        command = get_subcommand(self, is_required=False) or List()
        code: int = command.run()  # type: ignore[union-attr]  # every field's class has it
        return code


def _imported(file: Path, folder: Path, answers: Answers) -> ModelCard:
    if file.suffix not in (".pt", ".pth"):
        return import_yolo(file, folder, answers)
    from lakesight.models.yolo.importing import import_checkpoint

    return import_checkpoint(file, folder, answers)


def _row(card: ModelCard) -> dict[str, Any]:
    """Return what the list says of one model."""
    here = availability(card)
    return {
        "name": card.name,
        "kinds": list(catalog.kinds(card)),
        "source": origin(card.source),
        "weights": card.licences.weights,
        "data": card.licences.data,
        "language_model": card.licences.language_model,
        "bytes": num_bytes(card),
        "parameters": num_parameters(card),
        "runs": here.runs,
        "how": here.how,
    }


def _facts(card: ModelCard, row: dict[str, Any]) -> dict[str, str]:
    view, labels = card.view, card.labels
    facts = {
        "runs here": row["how"] if row["runs"] else f"no: {row['how']}",
        "source": row["source"],
        "weights": card.licences.weights,
        "data": card.licences.data,
        "language model": card.licences.language_model,
        "size": _size(row["bytes"]),
        "parameters": _millions(row["parameters"]),
        "view": view and f"{view.width}x{view.height}, {view.fit}, {view.interpolation}",
        "labels": labels if isinstance(labels, str) else labels and ", ".join(labels[:8]) + ", …",
        "keypoints": ", ".join(card.contract.get("keypoints") or ())
        if card.family == "yolo"
        else "",
        "prompts": "; ".join(
            f"{kind}: {prompt or '(none)'}"
            for kind, prompt in card.contract.get("prompts", {}).items()
        ),
        "metrics": ", ".join(f"{name} {value:g}" for name, value in card.metrics.items()),
        "files": ", ".join(f"{name} ({digest[:12]}…)" for name, digest in card.sha256.items()),
        "exports": ", ".join(
            one.name if card.owns(one) else f"{one.name} (of other weights: export it again)"
            for one in card.artefacts
        ),
    }
    return {name: str(value) for name, value in facts.items() if value}


def _options(card: ModelCard) -> list[dict[str, Any]]:
    """Return name, default and help of every option that may be set."""
    fields, own = catalog.options_of(card).model_fields, catalog.defaults_of(card)
    return [
        {
            "name": name,
            "default": own.get(name, field.default),
            "help": " ".join((field.description or "").split()),
        }
        for name, field in fields.items()
        if not field.exclude
    ]


def _size(num_bytes: int | None) -> str:
    return "not here" if num_bytes is None else f"{num_bytes / 1e6:.1f} MB"


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f} M"


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the labels in {path}: {error.strerror}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())
