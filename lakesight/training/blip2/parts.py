"""Pictures with the kinds of text that BLIP-2's second stage learns of them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lakesight.training.blip2.settings import PARTS, PartName
from lakesight.training.blip2.told import Question, Region, Told

STEPS = 10
"""Of a layout, from one side of a picture to the other."""
NEAR = 0.05
"""Of a picture's side: regions whose middles are nearer are beside each other in that direction."""
ASKED = "where is the {} from the {}?"
"""What a relation answers."""

Said = str | Question | tuple[Region, ...]
"""A caption or description, a question, or regions."""


@dataclass(frozen=True)
class Picture:
    """A picture, and what is said of it, by the kind of text."""

    told: Told
    captions: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    layouts: tuple[tuple[Region, ...], ...] = ()
    """One, of all its regions: its text depends on the picture's size."""
    questions: tuple[Question, ...] = ()
    relations: tuple[tuple[Region, ...], ...] = ()
    """As many as there are regions of a phrase of their own; each is of any two of these."""

    def said(self, name: PartName) -> Sequence[Said]:
        """Return what is said of it in a kind of text."""
        found: Sequence[Said] = getattr(self, name)
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
    each = {name: [pictures[_key(told)] for told in every] for name, every in opened.items()}
    return {name: [one for one in every if one.said(name)] for name, every in each.items()}


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
    regions = told.regions or ()
    if name == "layouts":
        return replace(known, layouts=(regions,))
    counts = Counter(region.phrase for region in regions)
    alone = tuple(region for region in regions if counts[region.phrase] == 1)
    return replace(known, relations=(alone,) * len(alone) if len(alone) > 1 else ())


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
    for region in regions:
        across, down = _middle(region, width, height)
        placed.append((_step(down), _step(across), region.phrase))
    return ", ".join(f"{phrase} {across} {down}" for down, across, phrase in sorted(placed))


def relation(one: Region, other: Region, width: int, height: int) -> Question:
    """Return the question where one region lies from another, with its answer.

    "left and above", "right", "below"; "here" where their middles are beside each other.
    """
    across, down = _middle(one, width, height)
    from_left, from_top = _middle(other, width, height)
    sides = (("left", "right", across - from_left), ("above", "below", down - from_top))
    words = [low if by < 0 else high for low, high, by in sides if abs(by) >= NEAR]
    return Question(ASKED.format(one.phrase, other.phrase), (" and ".join(words) or "here",))


def _middle(region: Region, width: int, height: int) -> tuple[float, float]:
    """Return where a region's middle is, as parts of the picture from left and top."""
    left, top, right, bottom = region.box_xyxy
    return (left + right) / 2 / width, (top + bottom) / 2 / height


def _step(part: float) -> int:
    return min(max(int(part * STEPS), 0), STEPS - 1)
