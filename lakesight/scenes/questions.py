"""Questions with their answers: is there one, how many, what colour, where to each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lakesight.scenes.drawing import SceneObject
from lakesight.scenes.paint import COLOURS, TEXTURES
from lakesight.scenes.shapes import LABELS
from lakesight.scenes.words import (
    OPPOSITES,
    Phrase,
    all_phrases,
    relations,
    unique_phrase,
    with_article,
)

ZERO_ODDS = 0.4
"""How often the second question for a number is about what may not be there."""

Objects = Sequence[SceneObject]


@dataclass(frozen=True)
class Question:
    """A question and its one answer."""

    kind: str
    """existence, count, colour or relation."""
    question: str
    answer: str


def questions(
    rng: np.random.Generator, objects: Objects, width: int, height: int
) -> tuple[Question, ...]:
    """Return the questions of a picture: as many with the answer "yes" as with "no".

    Two for existence, two for a number, and where the objects allow it one for a colour and two for
    a relation. Numbers are answered in digits.
    """
    return (
        *_existence(rng, objects),
        *_counts(rng, objects),
        *_colour(rng, objects),
        *_relations(rng, objects, min(width, height)),
    )


def _random_phrase(rng: np.random.Generator, objects: Objects) -> Phrase:
    """Return a phrase that fits at least one of the objects."""
    found = objects[int(rng.integers(len(objects)))]
    phrases = [*all_phrases(found), Phrase(colour=found.colour), Phrase(texture=found.texture)]
    return phrases[int(rng.integers(len(phrases)))]


def _absent_phrase(rng: np.random.Generator, objects: Objects) -> Phrase:
    """Return a phrase that fits none, made of words of which some fit."""
    while True:
        label, colour, texture = (
            str(rng.choice(names)) for names in (LABELS, list(COLOURS), TEXTURES)
        )
        found = objects[int(rng.integers(len(objects)))]
        phrase = (
            Phrase(label),
            Phrase(found.label, colour),
            Phrase(label, found.colour),
            Phrase(found.label, texture=texture),
            Phrase(colour=found.colour, texture=texture),
        )[int(rng.integers(5))]
        if not phrase.count(objects):
            return phrase


def _existence(rng: np.random.Generator, objects: Objects) -> Iterator[Question]:
    for phrase, answer in (
        (_random_phrase(rng, objects), "yes"),
        (_absent_phrase(rng, objects), "no"),
    ):
        asked = (
            f"is there {with_article(phrase.singular)}?",
            f"is there {with_article(phrase.singular)} in the picture?",
            f"are there any {phrase.plural}?",
        )[int(rng.integers(3))]
        yield Question("existence", asked, answer)


def _counts(rng: np.random.Generator, objects: Objects) -> Iterator[Question]:
    absent = rng.random() < ZERO_ODDS
    second = _absent_phrase(rng, objects) if absent else Phrase()
    for phrase in (_random_phrase(rng, objects), second):
        asked = f"how many {phrase.plural} are there?"
        yield Question("count", asked, str(phrase.count(objects)))


def _colour(rng: np.random.Generator, objects: Objects) -> Iterator[Question]:
    """Ask for the colour of a thing that is named apart without its colour."""
    named = [
        (phrase, found)
        for found in objects
        for phrase in (Phrase(found.label), Phrase(found.label, texture=found.texture))
        if phrase.count(objects) == 1
    ]
    if named:
        phrase, found = named[int(rng.integers(len(named)))]
        yield Question("colour", f"what colour is the {phrase.singular}?", found.colour)


def _relations(rng: np.random.Generator, objects: Objects, side_px: int) -> Iterator[Question]:
    """Ask for a relation that holds, and for the opposite of one that holds."""
    named = [(found, unique_phrase(found, objects)) for found in objects]
    known = [
        (phrase.singular, relation, other_phrase.singular)
        for found, phrase in named
        for other, other_phrase in named
        if phrase and other_phrase and found is not other
        for relation in relations(found, other, side_px)
    ]
    if not known:
        return
    first, relation, second = known[int(rng.integers(len(known)))]
    yield Question("relation", f"is the {first} {relation} the {second}?", "yes")
    first, relation, second = known[int(rng.integers(len(known)))]
    yield Question("relation", f"is the {first} {OPPOSITES[relation]} the {second}?", "no")
