"""Pictures with what is said of them: captions, and questions with answers.

Checked whole when they are opened: what is wrong is said with its place, never skipped.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from lakesight.errors import UserError, first_mistake
from lakesight.lake.uris import is_s3
from lakesight.training.yolo.coco import kinds_of
from lakesight.training.yolo.datasets import Split

Wanted = Literal["captions", "questions"]
SceneCaptions = Literal["captions", "description"]


@dataclass(frozen=True)
class Question:
    """A question, and what people answered."""

    text: str
    answers: tuple[str, ...]
    kind: str | None = None
    """Of what it asks, for slices; None where the data does not say."""


class Region(NamedTuple):
    """A part of a picture, and what is said of it."""

    box_xyxy: tuple[float, float, float, float]
    """In pixels of the picture."""
    phrase: str


@dataclass(frozen=True)
class Told:
    """One picture's file, and what is said of it."""

    path: Path
    captions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    regions: tuple[Region, ...] = ()
    uri: str | None = None
    """Where the picture is, where that is a bucket; `path` is then its name alone."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What kinds the picture is of, by name, beside its folder: `evaluate --slice NAME`."""


class Image(BaseModel, extra="allow"):
    """One of `images` of COCO's captions."""

    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class Caption(BaseModel):
    """One of `annotations` of COCO's captions."""

    image_id: int | str
    caption: str


class Captions(BaseModel):
    """COCO's captions, https://cocodataset.org/#format-data."""

    images: tuple[Image, ...]
    annotations: tuple[Caption, ...]


class Answer(BaseModel):
    """One person's answer."""

    answer: str


class Asked(BaseModel):
    """A question: of Visual Genome, OK-VQA or LAVIS in one file with its answers."""

    image: str
    question: str
    answer: str | tuple[str, ...] | tuple[Answer, ...]
    kind: str | None = None


class Described(BaseModel):
    """What is said of a part of a picture, in pixels: of Visual Genome's region descriptions."""

    phrase: str
    x: float
    y: float
    width: float = Field(gt=0)
    height: float = Field(gt=0)


OBJECT = ("box", "texture", "colour", "label")
"""What is read of the objects of scenes."""


def open_texts(
    data: str,
    split: Split,
    wanted: Wanted,
    images: str | None = None,
    column: SceneCaptions = "captions",
    *,
    regions: bool = False,
    local: bool = True,
) -> list[Told]:
    """Open pictures with captions or questions; which form they have is told by what is there.

    - a folder with `scenes.json`: generated scenes; `column` says which of their captions
    - a COCO captions .json: `images` and `annotations` with a `caption`
    - a .json list of `{"image", "caption"}` or `{"image", "question", "answer"}`, as LAVIS has
      them; a caption or an answer may be a list

    With `regions=True` also what is said of parts of pictures: the objects of scenes, or, in a
    list, `"regions": [{"phrase", "x", "y", "width", "height"}]` in pixels, as Visual Genome has
    them.

    File names are relative to `images`, else to the .json. Raises UserError where a picture is
    missing, a text is empty, or a picture has none or is there twice. With `local=False` nobody
    will look at the pictures: they need not be here, and `images` may be an s3:// prefix.
    """
    path = Path(data)
    if local and images and is_s3(images):
        raise UserError(
            f"pictures are looked at in a folder, and --images is {images}: name a folder; or "
            "annotate the pictures where they are, and evaluate the output"
        )
    if (path / "scenes.json").is_file():
        told = _scenes(path, split, wanted, column, regions)
    elif path.suffix == ".json":
        told = _file(path, images or str(path.parent), wanted, regions)
    else:
        raise UserError(
            f"{data} has no {wanted} of pictures: give a folder of `lakesight scenes`, COCO "
            "captions as .json, or a .json list of images with a caption or question and answer"
        )
    _check(told, wanted, data)
    if regions and not any(one.regions for one in told):
        raise UserError(f"{data} describes no regions of its pictures: leave loss.regions at 0")
    if local:
        _check_files(told, data)
    return told


def _scenes(folder: Path, split: Split, wanted: Wanted, column: str, regions: bool) -> list[Told]:
    table = folder / "tables" / f"{split}.parquet"
    if not table.is_file():
        raise UserError(f"{folder} has no split {split}: draw scenes with one")
    names = ["file_name", "label", column if wanted == "captions" else "questions"]
    if missing := set(names) - set(pq.read_schema(table).names):
        raise UserError(f"{table} has no {', '.join(missing)}: draw the scenes again")
    names += [f"objects.list.element.{name}" for name in OBJECT] if regions else []
    return [
        Told(folder / row["file_name"], **_of_row(row, wanted, column))
        for row in pq.ParquetFile(table).read(names).to_pylist()
    ]


def _of_row(row: Mapping[str, Any], wanted: Wanted, column: str) -> dict[str, Any]:
    kinds = kinds_of({"label": row["label"]})
    if wanted == "captions":
        objects = row.get("objects", ())
        regions = tuple(
            Region(tuple(one["box"]), f"{one['texture']} {one['colour']} {one['label']}")
            for one in objects
        )
        return {"captions": _texts(row[column]), "regions": regions, "kinds": kinds}
    asked = (Question(one["question"], (one["answer"],), one["kind"]) for one in row["questions"])
    return {"questions": tuple(asked), "kinds": kinds}


def _file(path: Path, images: str, wanted: Wanted, regions: bool) -> list[Told]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    try:
        if isinstance(content, list):
            return _listed(content, images, wanted, regions)
        if wanted == "captions":
            return _coco(Captions.model_validate(content), path, images)
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no file of {wanted}: {_first(error)}") from error
    raise UserError(f"{path} has no questions: expected a list of image, question and answer")


def _coco(content: Captions, path: Path, images: str) -> list[Told]:
    captions: dict[int | str, list[str]] = {image.id: [] for image in content.images}
    for one in content.annotations:
        if one.image_id not in captions:
            raise UserError(f"{path}: a caption is of the picture {one.image_id}, which it lacks")
        captions[one.image_id].append(one.caption)
    return [
        Told(
            **_place(images, one.file_name),
            captions=tuple(captions[one.id]),
            kinds=kinds_of(one.model_extra or {}),
        )
        for one in content.images
    ]


def _place(images: str, name: str) -> dict[str, Any]:
    """Return where a picture is, as fields of `Told`."""
    if is_s3(images):
        return {"path": Path(name), "uri": f"{images.rstrip('/')}/{name}"}
    return {"path": Path(images) / name}


def _listed(content: Sequence[Any], images: str, wanted: Wanted, regions: bool) -> list[Told]:
    """Join the entries of one picture, in the order of the first."""
    texts: dict[str, list[str]] = {}
    parts: dict[str, list[Region]] = {}
    asked: dict[str, list[Question]] = {}
    for entry in content:
        if wanted == "captions":
            texts.setdefault(entry["image"], []).extend(_texts(entry["caption"]))
            described = entry.get("regions", ()) if regions else ()
            parts.setdefault(entry["image"], []).extend(map(_region, described))
        else:
            one = Asked.model_validate(entry)
            question = Question(one.question, _answers(one.answer), one.kind)
            asked.setdefault(one.image, []).append(question)
    captioned = [
        Told(**_place(images, one), captions=tuple(texts[one]), regions=tuple(parts[one]))
        for one in texts
    ]
    return captioned + [Told(**_place(images, one), questions=tuple(asked[one])) for one in asked]


def _region(given: Any) -> Region:
    one = Described.model_validate(given)
    return Region((one.x, one.y, one.x + one.width, one.y + one.height), one.phrase)


def _answers(given: str | Iterable[str | Answer]) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    return tuple(one if isinstance(one, str) else one.answer for one in given)


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _check(told: Sequence[Told], wanted: Wanted, data: str) -> None:
    """Raise UserError where a picture is there twice or has nothing said of it."""
    if not told:
        raise UserError(f"{data} has no pictures")
    path, times = Counter(one.path for one in told).most_common(1)[0]
    if times > 1:
        raise UserError(f"{data} has {path.name} {times} times: say all of a picture at once")
    for one in told:
        texts = [*one.captions]
        for question in one.questions:
            texts += [question.text, *question.answers]
            if not question.answers:
                raise UserError(f"{data}: {question.text!r} about {one.path.name} has no answer")
        if not texts:
            raise UserError(
                f"{data}: {one.path.name} has no {wanted}: give it some, or leave the picture out"
            )
        if not all(text.strip() for text in texts):
            raise UserError(f"{data}: one of the texts of {one.path.name} is empty")


def _check_files(told: Sequence[Told], data: str) -> None:
    missing = [one.path for one in told if not one.path.is_file()]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(told):,} pictures of {data} are missing, such as "
            f"{missing[0]}: name their folder with --images"
        )


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_mistake(error)
    return f"{type(error).__name__}: {error}"
