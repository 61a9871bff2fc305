"""From somebody's YOLO `.onnx` to a model folder: what the file says, and what it leaves open."""

import ast
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.artefact import sha256_of
from lakesight.models.base import FolderSource, Licences, ModelCard
from lakesight.models.yolo_onnx import Head, YoloContract
from lakesight.runtimes.onnx_graph import external_files, graph_input

STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Of the cells in which YOLO looks for objects, in pixels of the input."""

MAX_END2END = 1000
"""An export with NMS inside returns at most about this many boxes."""

Dim = int | None
"""One side of a tensor; None where the file leaves it open."""


@dataclass(frozen=True)
class YoloFile:
    """What an ONNX file says of itself."""

    size_wh: tuple[Dim, Dim]
    """Of its input, in pixels."""
    outputs: dict[str, tuple[Dim, ...]]
    """Shape by name."""
    metadata: dict[str, str]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The class names, where the metadata has them under `names`."""
        try:
            names = ast.literal_eval(self.metadata.get("names", ""))
        except (ValueError, SyntaxError):
            return None
        found = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
        return tuple(map(str, found)) if isinstance(found, list) else None


@dataclass(frozen=True)
class Answers:
    """What the user says of the file; None leaves it to the file."""

    licence: str
    data_licence: str = "unknown"
    labels: tuple[str, ...] | None = None
    head: Head | None = None
    size: int | None = None
    name: str | None = None


def inspect(path: Path) -> YoloFile:
    """Read an ONNX file's shapes and metadata; its tensors stay closed.

    Raises UserError where it is no ONNX file or its input takes no pictures.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise UserError(f"{path} is no ONNX file that can be read: {error}") from error
    shape = _shape(graph_input(model.graph))
    if len(shape) != 4 or shape[1] not in (3, None):
        raise UserError(f"expected an input (N, 3, height, width), got {_shown(shape)}")
    outputs = {value.name: _shape(value) for value in model.graph.output}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return YoloFile((shape[3], shape[2]), outputs, metadata)


def import_yolo(path: Path, folder: Path, answers: Answers) -> ModelCard:
    """Copy a YOLO file into a new model folder with its card, written last, and return the card.

    Raises UserError where the file and the answers leave its meaning open.
    """
    file = inspect(path)
    labels = answers.labels or file.labels
    if labels is None:
        raise UserError(
            f"{path.name} does not name its classes: give a file with one name a line, --labels"
        )
    width, height = _size(file, answers.size)
    output, head = _head(file, len(labels), width, height, answers.head)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: name a new folder")
    names = _copy(path, folder)
    card = ModelCard(
        name=answers.name or slug(path.stem),
        kind="detect",
        family="yolo-onnx",
        source=FolderSource(uri=str(folder)),
        sha256={name: sha256_of(folder / name) for name in names},
        licences=Licences(weights=answers.licence, data=answers.data_licence),
        labels=labels,
        view=ImageView(width=width, height=height),
        contract=YoloContract(head=head, output=output).model_dump(mode="json"),
        provenance=_provenance(path, file),
    )
    text = card.model_dump_json(indent=2, exclude={"source"})
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")
    return card


def find_heads(shape: tuple[Dim, ...], num_classes: int, width: int, height: int) -> list[Head]:
    """Return which layouts an output of that shape can be, by class count and input size.

    The number of boxes may be open, the side that counts the classes not.
    """
    if len(shape) != 3:
        return []
    rows, columns = shape[1:]
    cells = [sum((width // s) * (height // s) for s in strides) for strides in STRIDES]
    heads: list[Head] = []
    if rows == 4 + num_classes and columns in (*cells, None):
        heads.append("v8")
    if columns == 5 + num_classes and rows in (*(3 * count for count in cells), None):
        heads.append("v5")
    if columns == 6 and (rows is None or rows <= MAX_END2END):
        heads.append("end2end")
    return heads


def _head(
    file: YoloFile, num_classes: int, width: int, height: int, wanted: Head | None
) -> tuple[str, Head]:
    """Return the output tensor and its layout, or raise UserError where they are not certain."""
    shown = ", ".join(f"{name} {_shown(shape)}" for name, shape in file.outputs.items())
    if len(file.outputs) != 1:
        raise UserError(
            f"expected one output of boxes, got {shown}: masks, keypoints and split heads are not "
            "read. Export plain detection."
        )
    name, shape = next(iter(file.outputs.items()))
    fitting = find_heads(shape, num_classes, width, height)
    if wanted is not None:
        return name, wanted
    if len(fitting) == 1:
        return name, fitting[0]
    what = f"fits {' and '.join(fitting)}" if fitting else "fits none of v5, v8 and end2end"
    raise UserError(
        f"the output {shown} {what} for {num_classes} classes at {width}x{height}. If you know "
        "what it is, say so with --head; else check --labels and --size."
    )


def _size(file: YoloFile, wanted: int | None) -> tuple[int, int]:
    """Return the input's width and height: the file's, else the user's, else the metadata's."""
    width, height = file.size_wh
    if width is not None and height is not None:
        if wanted is not None and (width, height) != (wanted, wanted):
            raise UserError(f"the file takes {width}x{height} only, not --size {wanted}")
        return width, height
    if wanted is not None:
        return wanted, wanted
    stated = re.fullmatch(r"\[(\d+), (\d+)\]", file.metadata.get("imgsz", ""))
    if stated is None:
        raise UserError("the file takes any size: say with --size which it was trained for")
    return int(stated[2]), int(stated[1])


def _copy(path: Path, folder: Path) -> list[str]:
    """Copy the file and what it keeps beside it; return their names."""
    beside = external_files(path.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    for name in beside:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.resolve().parent / name, folder / name)
    shutil.copyfile(path, folder / "model.onnx")
    return ["model.onnx", *beside]


def _provenance(path: Path, file: YoloFile) -> str:
    stated = file.metadata.get("license")
    own = f" The file itself says of its licence: {stated}." if stated else ""
    return f"Imported from {path.name} by its user, who stated the licences.{own}"


def _shape(value: Any) -> tuple[Dim, ...]:
    return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)


def _shown(shape: tuple[Dim, ...]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def slug(stem: str) -> str:
    """Return a card's name for a file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "model"
