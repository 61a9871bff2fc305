"""Pictures with the kinds of text that BLIP-2's second stage learns of them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lakesight.training.blip2.settings import PARTS, PartName
from lakesight.training.blip2.told import Question, Region, Told

STEPS = 10
"""Of a layout, from one side of a picture to the other."""


@dataclass(frozen=True)
class Picture:
    """A picture, and what is said of it, by the kind of text."""

    told: Told
    captions: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    layouts: tuple[tuple[Region, ...], ...] = ()
    """One, of all its regions: its text depends on the picture's size."""
    questions: tuple[Question, ...] = ()

    def said(self, name: PartName) -> Sequence[str | Question | tuple[Region, ...]]:
        """Return what is said of it in a kind of text."""
        found: Sequence[str | Question | tuple[Region, ...]] = getattr(self, name)
        return found

    def kinds(self) -> list[PartName]:
        """Return the kinds of text in which anything is said of it."""
        return [name for name in PARTS if self.said(name)]


PartTexts = Mapping[PartName, Sequence[Picture]]
"""The pictures of each kind of text; what is said of a picture is one `Picture` in all of them."""


def joined(opened: Mapping[PartName, Sequence[Told]]) -> PartTexts:
    """Join what is said of each picture in different kinds of text, wherever these lie."""
    pictures: dict[str, Picture] = {}
    for name, every in opened.items():
        for told in every:
            known = pictures.get(_key(told)) or Picture(told)
            if known.told.regions is None:
                known = replace(known, told=told)
            pictures[_key(told)] = _with(known, name, told)
    return {name: [pictures[_key(told)] for told in every] for name, every in opened.items()}


def _key(told: Told) -> str:
    return os.path.abspath(told.path)  # noqa: PTH100 - ten times as fast as pathlib's, and no look


def _with(known: Picture, name: PartName, told: Told) -> Picture:
    """Return a picture with what is said of it in one more kind of text."""
    if name == "captions":
        return replace(known, captions=told.captions)
    if name == "descriptions":
        return replace(known, descriptions=told.captions)
    if name == "questions":
        return replace(known, questions=told.questions)
    return replace(known, layouts=(told.regions or (),))


def all_told(texts: PartTexts) -> list[Told]:
    """Return the pictures themselves with their regions, each once."""
    told = (one.told for every in texts.values() for one in every)
    return list({_key(one): one for one in told}.values())


def layout(regions: Iterable[Region], width: int, height: int) -> str:
    """Return what lies where: each region's phrase, and its middle in tenths from left and top.

    "red star 2 0, blue circle 7 5": by rows of tenths, from left to right. As sequences of places
    are written in Pix2Seq, https://arxiv.org/abs/2109.10852, with words for classes.
    """
    placed = []
    for (left, top, right, bottom), phrase in regions:
        across, down = (left + right) / 2 / width, (top + bottom) / 2 / height
        placed.append((_step(down), _step(across), phrase))
    return ", ".join(f"{phrase} {across} {down}" for down, across, phrase in sorted(placed))


def _step(part: float) -> int:
    return min(max(int(part * STEPS), 0), STEPS - 1)
