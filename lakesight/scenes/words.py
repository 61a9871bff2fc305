"""English for what is in a picture: phrases that are true of some objects and not of others."""

from collections.abc import Sequence
from dataclasses import dataclass

from lakesight.scenes.drawing import SceneObject

NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
)  # fmt: skip

MIN_OFFSET = 0.1
"""Of the shorter side: what is less to the left than this is not said to be left of a thing."""

EDGE_OF_THIRD = 0.04
"""Of width or height: what is nearer to the border of a third is not said to be in it."""

RELATIONS = {
    "to the left of": (-1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
"""Relation to the direction in which the first thing lies from the second."""

OPPOSITES = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}


@dataclass(frozen=True)
class Phrase:
    """A description, such as "striped red circle"; what it leaves open may be anything."""

    label: str = ""
    colour: str = ""
    texture: str = ""

    def fits(self, found: SceneObject) -> bool:
        """Return whether an object is one of these."""
        return (
            self.label in ("", found.label)
            and self.colour in ("", found.colour)
            and self.texture in ("", found.texture)
        )

    def count(self, objects: Sequence[SceneObject]) -> int:
        """Return how many of the objects are."""
        return sum(self.fits(found) for found in objects)

    @property
    def singular(self) -> str:
        """The phrase for one of them."""
        words = (self.texture, self.colour, self.label or "shape")
        return " ".join(word for word in words if word)

    @property
    def plural(self) -> str:
        """The phrase for several."""
        return self.singular + ("es" if self.label == "cross" else "s")

    def counted(self, number: int) -> str:
        """Return "a red circle", "two red circles"."""
        return with_article(self.singular) if number == 1 else f"{NUMBERS[number]} {self.plural}"


def with_article(noun: str) -> str:
    """Return "a star", "an orange star"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def joined(parts: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([part for part in (", ".join(parts[:-1]), parts[-1]) if part])


def all_phrases(found: SceneObject) -> list[Phrase]:
    """Return every phrase with a class that fits an object, the shortest first."""
    return [
        Phrase(found.label),
        Phrase(found.label, colour=found.colour),
        Phrase(found.label, texture=found.texture),
        Phrase(found.label, found.colour, found.texture),
    ]


def unique_phrase(found: SceneObject, objects: Sequence[SceneObject]) -> Phrase | None:
    """Return the shortest phrase that fits this object and no other."""
    fitting = (phrase for phrase in all_phrases(found) if phrase.count(objects) == 1)
    return next(fitting, None)


def relations(first: SceneObject, second: SceneObject, side_px: int) -> list[str]:
    """Return how the first lies to the second, by the middles of their boxes.

    `side_px` is the picture's shorter side. What is said is off by at least a tenth of it.
    """
    (x, y), (other_x, other_y) = first.centre, second.centre
    return [
        relation
        for relation, (right, down) in RELATIONS.items()
        if (x - other_x) * right + (y - other_y) * down >= MIN_OFFSET * side_px
    ]


def place(found: SceneObject, width: int, height: int) -> str | None:
    """Return where an object is, by thirds of the picture; None if it is near the border of two."""
    x, y = found.centre
    column, row = _third(x / width), _third(y / height)
    if column is None or row is None:
        return None
    across, down = ("left", "", "right")[column], ("top", "", "bottom")[row]
    if across and down:
        return f"in the {down} {across} corner"
    if down:
        return f"at the {down}"
    return f"on the {across}" if across else "in the middle"


def _third(share: float) -> int | None:
    """Return 0, 1 or 2, or None where `share`, 0 to 1, is near the border of two thirds."""
    if min(abs(share - 1 / 3), abs(share - 2 / 3)) < EDGE_OF_THIRD:
        return None
    return int(share * 3)
