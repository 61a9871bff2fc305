"""Pictures with what is said of them: captions, questions with answers, and regions.

Checked whole when they are opened: what is wrong is said with its place, never skipped.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter, ValidationError

from lakesight.errors import UserError, first_mistake
from lakesight.lake.uris import is_s3
from lakesight.scenes.known import holds_scenes
from lakesight.training import forms
from lakesight.training.blip2.files import (
    Answer,
    Asked,
    AskedRegions,
    Captioned,
    CaptionedRegions,
    Captions,
    Described,
    DescribedParts,
)
from lakesight.training.blip2.told import (
    Question,
    Region,
    SceneCaptions,
    TextsAsked,
    Told,
    Wanted,
)
from lakesight.training.forms import Form
from lakesight.training.yolo.coco import kinds_of
from lakesight.training.yolo.datasets import Split

__all__ = [
    "FORMS",
    "Question",
    "Region",
    "SceneCaptions",
    "TextsAsked",
    "Told",
    "Wanted",
    "open_texts",
]

Entry = TypeVar("Entry", bound=BaseModel)

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
    """Open pictures with what is wanted; which of the `FORMS` is told by what is there.

    `column` says which captions of generated scenes. File names in a .json are relative to
    `images`, else to it. Raises UserError where a picture is missing, a text is empty, or a picture
    has none or is there twice. With `local=False` nobody will look at the pictures: they need not
    be here, and `images` may be an s3:// prefix.

    With `regions=True` also what is said of parts of pictures: the objects of scenes, or, in a
    list, `"regions": [{"phrase", "x", "y", "width", "height"}]` in pixels, as Visual Genome has
    them. What is not described there has None; where regions are what is wanted, it is left out,
    and so is what has none.
    """
    if local and images and is_s3(images):
        raise UserError(
            f"pictures are looked at in a folder, and --images is {images}: name a folder; or "
            "annotate the pictures where they are, and evaluate the output"
        )
    asked = TextsAsked(data, split, wanted, images, column, regions or wanted == "regions")
    try:
        told = forms.opened(FORMS, asked, wanted, data, f"{wanted} of pictures")
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{data} is no file of {wanted}: {_first(error)}") from error
    if wanted == "regions":
        told = [one for one in told if one.regions]
    _check(told, wanted, data)
    if local:
        _check_files(told, data)
    return told


def _scenes(asked: TextsAsked) -> list[Told]:
    folder, split, wanted = asked.path, asked.split, asked.wanted
    columns = _columns(wanted, asked.column)
    table = folder / "tables" / f"{split}.parquet"
    if not table.is_file():
        raise UserError(f"{folder} has no split {split}: draw scenes with one")
    names = ["file_name", "label", *columns]
    if missing := set(names) - set(pq.read_schema(table).names):
        raise UserError(f"{table} has no {', '.join(missing)}: draw the scenes again")
    names += [f"objects.list.element.{name}" for name in OBJECT] if asked.regions else []
    return [
        Told(folder / row["file_name"], **_of_row(row, wanted, columns))
        for row in pq.ParquetFile(table).read(names).to_pylist()
    ]


def _columns(wanted: Wanted, captions: SceneCaptions) -> tuple[str, ...]:
    if wanted == "captions":
        return ("captions", "description") if captions == "both" else (captions,)
    return ("questions",) if wanted == "questions" else ()


def _of_row(row: Mapping[str, Any], wanted: Wanted, columns: Sequence[str]) -> dict[str, Any]:
    regions = None
    if "objects" in row:
        regions = tuple(
            Region(tuple(one["box"]), f"{one['texture']} {one['colour']} {one['label']}")
            for one in row["objects"]
        )
    seen = {"regions": regions, "kinds": kinds_of({"label": row["label"]})}
    if wanted == "captions":
        captions = tuple(text for column in columns for text in _texts(row[column]))
        return {"captions": captions, **seen}
    if wanted == "regions":
        return seen
    asked = (Question(one["question"], (one["answer"],), one["kind"]) for one in row["questions"])
    return {"questions": tuple(asked), **seen}


def _coco(asked: TextsAsked) -> list[Told]:
    content = Captions.model_validate(asked.content)
    captions: dict[int | str, list[str]] = {image.id: [] for image in content.images}
    if len(captions) < len(content.images):
        number, times = Counter(image.id for image in content.images).most_common(1)[0]
        raise UserError(
            f"{asked.path}: {times} images have the id {number!r}, and nobody knows of which its "
            "captions are: give each an id of its own"
        )
    for one in content.annotations:
        if one.image_id not in captions:
            raise UserError(
                f"{asked.path}: a caption is of the picture {one.image_id}, which it lacks"
            )
        captions[one.image_id].append(one.caption)
    return [
        Told(
            **_place(asked.places, one.file_name),
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


def _listed(asked: TextsAsked) -> list[Told]:
    """Join the entries of one picture, in the order of the first."""
    if asked.wanted == "captions":
        return _listed_captions(asked)
    return _listed_questions(asked) if asked.wanted == "questions" else _listed_regions(asked)


def _listed_captions(asked: TextsAsked) -> list[Told]:
    texts: dict[str, list[str]] = {}
    regions: dict[str, tuple[Region, ...]] = {}
    for one in _entries(CaptionedRegions if asked.regions else Captioned, asked):
        texts.setdefault(one.image, []).extend(_texts(one.caption))
        _describe(regions, one)
    return [
        Told(**_place(asked.places, name), captions=tuple(said), regions=regions.get(name))
        for name, said in texts.items()
    ]


def _listed_questions(asked: TextsAsked) -> list[Told]:
    questions: dict[str, list[Question]] = {}
    regions: dict[str, tuple[Region, ...]] = {}
    for one in _entries(AskedRegions if asked.regions else Asked, asked):
        question = Question(one.question, _answers(one.answer), one.kind)
        questions.setdefault(one.image, []).append(question)
        _describe(regions, one)
    return [
        Told(**_place(asked.places, name), questions=tuple(said), regions=regions.get(name))
        for name, said in questions.items()
    ]


def _listed_regions(asked: TextsAsked) -> list[Told]:
    regions: dict[str, tuple[Region, ...]] = {}
    for one in _entries(DescribedParts, asked):
        _describe(regions, one)
    return [Told(**_place(asked.places, name), regions=said) for name, said in regions.items()]


def _entries(kind: type[Entry], asked: TextsAsked) -> list[Entry]:
    """Return what a list holds; an error of validation says which entry is wrong."""
    return TypeAdapter(list[kind]).validate_python(asked.content)  # type: ignore[valid-type]


def _describe(
    regions: dict[str, tuple[Region, ...]], one: Captioned | Asked | DescribedParts
) -> None:
    """Add what an entry says of parts of its picture, where it says anything."""
    described: Sequence[Described] | None = getattr(one, "regions", None)
    if described is not None:
        regions[one.image] = (*regions.get(one.image, ()), *map(_region, described))


def _region(one: Described) -> Region:
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
        of = " with regions (docs/training-blip2.md)" if wanted == "regions" else ""
        raise UserError(f"{data} has no pictures{of}")
    path, times = Counter(one.path for one in told).most_common(1)[0]
    if times > 1:
        raise UserError(f"{data} has {path.name} {times} times: say all of a picture at once")
    for one in told:
        texts = [*one.captions]
        for question in one.questions:
            texts += [question.text, *question.answers]
            if not question.answers:
                raise UserError(f"{data}: {question.text!r} about {one.path.name} has no answer")
        texts += [region.phrase for region in one.regions or () if wanted == "regions"]
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
            f"{missing[0]}: name their folder with --images, or leave them out"
        )


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_mistake(error)
    return f"{type(error).__name__}: {error}"


FORMS: dict[str, Form[TextsAsked, list[Told]]] = {
    "scenes": Form(
        "a folder of `lakesight scenes`",
        frozenset({"captions", "questions", "regions"}),
        lambda asked: holds_scenes(asked.path),
        _scenes,
    ),
    "coco-captions": Form(
        "COCO captions as .json",
        frozenset({"captions"}),
        lambda asked: isinstance(asked.content, dict),
        _coco,
    ),
    "lavis-list": Form(
        "a .json list of images with a caption, question and answer, or regions",
        frozenset({"captions", "questions", "regions"}),
        lambda asked: isinstance(asked.content, list),
        _listed,
    ),
}
"""By name, in the order in which they are looked for."""
