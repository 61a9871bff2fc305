"""Captions that are true: counts, colours, places and relations of what is in a picture."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lakesight.scenes.drawing import SceneObject
from lakesight.scenes.words import (
    NUMBERS,
    Phrase,
    all_phrases,
    joined,
    place,
    relations,
    unique_phrase,
    with_article,
)

MAX_CAPTIONS = 5
Objects = Sequence[SceneObject]


def captions(
    rng: np.random.Generator, objects: Objects, tone: str, width: int, height: int
) -> tuple[str, ...]:
    """Return 3 to 5 different captions of the objects of a picture, in random order.

    Lower case and without a full stop. A number or article counts *all* objects that fit: "two red
    circles" says that there are two and no third, whatever their texture.
    """
    ground = f"{_one(rng, ('on', 'against'))} {with_article(tone)} background"
    found = [
        _classes(rng, objects, ground),
        _main(rng, objects, ground),
        _colours(rng, objects),
        _some(rng, objects, ground),
        _relation(rng, objects, min(width, height)),
        _place(rng, objects, width, height),
    ]
    said = list(dict.fromkeys(text for text in found if text))
    kept = rng.permutation(len(said))[:MAX_CAPTIONS]
    return tuple(said[int(number)] for number in kept)


def description(objects: Objects, tone: str) -> str:
    """Return every object by class, colour and texture, the most numerous kinds first.

    The caption "in detail": it leaves out only where things are, and few scenes share one.
    """
    counts = Counter((found.label, found.colour, found.texture) for found in objects)
    kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
    parts = [Phrase(*kind).counted(counts[kind]) for kind in kinds]
    return f"{joined(parts)} on {with_article(tone)} background"


def _one(rng: np.random.Generator, texts: Sequence[str]) -> str:
    return texts[int(rng.integers(len(texts)))]


def _classes(rng: np.random.Generator, objects: Objects, ground: str) -> str:
    """Say how many there are of each class, the most first."""
    counts = Counter(found.label for found in objects).most_common()
    parts = joined([Phrase(label).counted(number) for label, number in counts])
    return _one(rng, (f"{parts} {ground}", f"a picture of {parts}", parts))


def _main(rng: np.random.Generator, objects: Objects, ground: str) -> str:
    """Say which is the largest, and how many more there are."""
    main = max(objects, key=lambda found: found.area_px)
    phrase = Phrase(main.label, main.colour, _one(rng, ("", main.texture)))
    large, rest = with_article(f"large {phrase.singular}"), len(objects) - 1
    return _one(
        rng,
        (
            f"{large} and {NUMBERS[rest]} smaller shapes {ground}",
            f"{large} among {NUMBERS[rest]} smaller shapes",
            f"{NUMBERS[rest + 1]} shapes, the largest of them {with_article(phrase.singular)}",
        ),
    )


def _colours(rng: np.random.Generator, objects: Objects) -> str:
    """Say how many there are of each colour, the most first."""
    counts = Counter(found.colour for found in objects).most_common()
    parts = joined([Phrase(colour=colour).counted(number) for colour, number in counts])
    return _one(rng, (parts, f"{NUMBERS[len(objects)]} shapes: {parts}"))


def _some(rng: np.random.Generator, objects: Objects, ground: str) -> str:
    """Count two kinds of things that differ in class or colour."""
    first = objects[int(rng.integers(len(objects)))]
    others = [each for each in objects if (each.label, each.colour) != (first.label, first.colour)]
    chosen = [first, others[int(rng.integers(len(others)))]] if others else [first]
    phrases = [all_phrases(found)[int(rng.choice((1, 3)))] for found in chosen]
    return f"{joined([phrase.counted(phrase.count(objects)) for phrase in phrases])} {ground}"


def _relation(rng: np.random.Generator, objects: Objects, side_px: int) -> str | None:
    """Say how two things lie to each other that can be named apart."""
    named = [(found, unique_phrase(found, objects)) for found in objects]
    said = [
        f"{with_article(phrase.singular)} {relation} {with_article(other_phrase.singular)}"
        for found, phrase in named
        for other, other_phrase in named
        if phrase and other_phrase and found is not other
        for relation in relations(found, other, side_px)
    ]
    return _one(rng, said) if said else None


def _place(rng: np.random.Generator, objects: Objects, width: int, height: int) -> str | None:
    """Say where a thing is that can be named apart."""
    named = [(unique_phrase(found, objects), place(found, width, height)) for found in objects]
    said = [f"{with_article(phrase.singular)} {at}" for phrase, at in named if phrase and at]
    return _one(rng, said) if said else None
