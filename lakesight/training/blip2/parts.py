"""Pictures with the kinds of text that BLIP-2's second stage learns of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from lakesight.training.blip2.places import Places
from lakesight.training.blip2.settings import PartName
from lakesight.training.blip2.told import Question, Region, Told

Said = str | Question | tuple[Region, ...]
"""A caption or description, a question, or the regions of a layout."""
STEPS = 10
"""Of a layout, from one side of a picture to the other."""


class Picture(NamedTuple):
    """A picture, and what is said of it, by the kind of text."""

    told: Told
    said: Mapping[PartName, Sequence[Said]]


Group = Sequence[Picture]
"""Pictures whose texts lie together: any of theirs are learned at one look."""


def grouped(
    places: Mapping[PartName, Places], opened: Callable[[PartName, Places], Iterable[Told]]
) -> list[Group]:
    """Open each kind of text, and join what is said of one picture, place by place."""
    groups: list[Group] = []
    for place in dict.fromkeys(places.values()):
        pictures: dict[object, Picture] = {}
        for name in [name for name, one in places.items() if one == place]:
            for told in opened(name, place):
                known = pictures.get(told.path) or Picture(told, {})
                pictures[told.path] = known._replace(said={**known.said, name: _said(name, told)})
        groups.append(list(pictures.values()))
    return groups


def _said(name: PartName, told: Told) -> Sequence[Said]:
    if name == "layouts":
        return [told.regions or ()]
    return told.questions if name == "questions" else told.captions


def pictures_of(groups: Iterable[Group], name: PartName) -> list[Picture]:
    """Return the pictures of which something of a kind is said."""
    return [one for group in groups for one in group if name in one.said]


def questions_of(one: Picture) -> tuple[Question, ...]:
    """Return what is asked of a picture."""
    return tuple(said for said in one.said["questions"] if isinstance(said, Question))


def all_told(groups: Iterable[Group]) -> list[Told]:
    """Return the pictures themselves, with their regions."""
    return [one.told for group in groups for one in group]


def layout(regions: Iterable[Region], size_wh: tuple[int, int]) -> str:
    """Return what lies where: each region's phrase, and its middle in tenths from left and top.

    "red star 2 0, blue circle 7 5": by rows of tenths, from left to right. As sequences of places
    are written in Pix2Seq, https://arxiv.org/abs/2109.10852, with words for classes.
    """
    placed = sorted((*_middle(region, size_wh)[::-1], region.phrase) for region in regions)
    return ", ".join(f"{phrase} {across} {down}" for down, across, phrase in placed)


def _middle(region: Region, size_wh: tuple[int, int]) -> tuple[int, int]:
    left, top, right, bottom = region.box_xyxy
    width, height = size_wh
    across, down = (left + right) / 2 / width, (top + bottom) / 2 / height
    return _step(across), _step(down)


def _step(part: float) -> int:
    return min(max(int(part * STEPS), 0), STEPS - 1)
