"""What is said of a picture, and what one asks for: see `texts.open_texts`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lakesight.errors import UserError
from lakesight.training.yolo.datasets import Split

Wanted = Literal["captions", "questions", "regions"]
"""What is to be said of every picture; regions: of its parts."""
SceneCaptions = Literal["captions", "description", "both"]
"""Of generated scenes: short captions, one that tells all that is to be seen, or all of them."""


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
    regions: tuple[Region, ...] | None = None
    """What is said of its parts; None where nobody said whether there are any."""
    uri: str | None = None
    """Where the picture is, where that is a bucket; `path` is then its name alone."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What kinds the picture is of, by name, beside its folder: `evaluate --slice NAME`."""


@dataclass(frozen=True)
class TextsAsked:
    """Texts to open, and how."""

    data: str
    split: Split
    wanted: Wanted
    images: str | None
    """Folder, or s3:// prefix, of the pictures that a .json names."""
    column: SceneCaptions
    """Of generated scenes, which captions."""
    regions: bool
    """Whether parts of pictures are wanted too."""

    @property
    def path(self) -> Path:
        """Return the data as a local path."""
        return Path(self.data)

    @property
    def places(self) -> str:
        """Return where the pictures are that a .json names."""
        return self.images or str(self.path.parent)

    @cached_property
    def content(self) -> Any:
        """Read a .json; None of anything else, and UserError where it is none."""
        if self.path.suffix != ".json":
            return None
        try:
            return json.loads(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {self.path}: {error}") from error
