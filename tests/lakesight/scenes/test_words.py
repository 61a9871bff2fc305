"""Captions and questions, read again by a small evaluator that knows only the words and boxes."""

import re
from collections import Counter
from collections.abc import Mapping

import pytest

from lakesight.scenes import LABELS, Scene, SceneObject, generate
from lakesight.scenes.paint import COLOURS, TEXTURES

COLOUR = "|".join(COLOURS)
TEXTURE = "|".join(TEXTURES)
CLASS = "|".join(LABELS)
NUMBER = "a|an|two|three|four|five|six|seven|eight|nine|ten"
THING = rf"(?:(?P<texture>{TEXTURE}) )?(?:(?P<colour>{COLOUR}) )?(?P<label>{CLASS}|shape)"
COUNTED = re.compile(
    rf"\b(?P<number>{NUMBER}) (?P<large>large )?(?P<small>smaller )?{THING}(?:e?s)?\b"
)
ANY_THING = "(?P<{0}>(?:(?:" + TEXTURE + ") )?(?:(?:" + COLOUR + ") )?(?:" + CLASS + "))"
RELATION = "(?P<relation>to the left of|to the right of|above|below)"
NUMBERS = {word: max(1, number) for number, word in enumerate(NUMBER.split("|"))}
SINGULAR = {**{f"{label}s": label for label in (*LABELS, "shape")}, "crosses": "cross"}
del SINGULAR["crosss"]
ORDERED = {
    "to the left of": lambda a, b: a[0] < b[0],
    "to the right of": lambda a, b: a[0] > b[0],
    "above": lambda a, b: a[1] < b[1],
    "below": lambda a, b: a[1] > b[1],
}
SCENES = [generate(11, index, 128) for index in range(120)]


def middle(found: SceneObject) -> tuple[float, float]:
    left, top, right, bottom = found.box_xyxy
    return (left + right) / 2, (top + bottom) / 2


def fitting(scene: Scene, words: str) -> list[SceneObject]:
    """Return the objects that every word of a description is true of."""
    found = list(scene.objects)
    for word in words.split():
        label = SINGULAR.get(word, word)
        if word in COLOURS:
            found = [each for each in found if each.colour == word]
        elif word in TEXTURES:
            found = [each for each in found if each.texture == word]
        elif label in LABELS:
            found = [each for each in found if each.label == label]
        else:
            assert label == "shape", f"{word!r} describes nothing"
    return found


def related(scene: Scene, match: Mapping[str, str] | re.Match[str]) -> bool:
    """Return whether the relation holds; both things must be the only ones of their kind."""
    (first,), (second,) = fitting(scene, match["first"]), fitting(scene, match["second"])
    return bool(ORDERED[match["relation"]](middle(first), middle(second)))


def answer(scene: Scene, question: str) -> str:
    """Return the answer to a question from the objects alone."""
    if match := re.fullmatch(
        r"(?:is there (?:a|an)|are there any) (.+?)( in the picture)?\?", question
    ):
        return "yes" if fitting(scene, match[1]) else "no"
    if match := re.fullmatch(r"how many (.+) are there\?", question):
        return str(len(fitting(scene, match[1])))
    if match := re.fullmatch(r"what colour is the (.+)\?", question):
        (only,) = fitting(scene, match[1])
        return only.colour
    match = re.fullmatch(rf"is the {ANY_THING.format('first')} {RELATION} the "
                         rf"{ANY_THING.format('second')}\?", question)  # fmt: skip
    assert match, f"a question of no known form: {question}"
    return "yes" if related(scene, match) else "no"


def test_every_answer_is_right() -> None:
    for scene in SCENES:
        for asked in scene.questions:
            assert answer(scene, asked.question) == asked.answer, asked


def test_questions_are_balanced_and_of_every_kind() -> None:
    asked = [question for scene in SCENES for question in scene.questions]
    for kind in ("existence", "relation"):
        answers = Counter(each.answer for each in asked if each.kind == kind)
        assert set(answers) == {"yes", "no"}
        assert answers["yes"] == answers["no"]
    counts = {each.answer for each in asked if each.kind == "count"}
    assert {"0", "1", "2", "3", "4", "5"} <= counts
    assert {each.answer for each in asked if each.kind == "colour"} == set(COLOURS)
    colours = sum(each.kind == "colour" for each in asked)
    assert colours > 0.8 * len(SCENES)


@pytest.mark.parametrize("scene", SCENES[:60], ids=range(60))
def test_every_number_in_a_caption_is_right(scene: Scene) -> None:
    assert 3 <= len(scene.captions) == len(set(scene.captions)) <= 5
    for caption in scene.captions:
        text = re.sub(r"^a picture of ", "", caption)
        text = re.sub(r" (on|against) an? [a-z ]+ background$", "", text)
        found = list(COUNTED.finditer(text))
        assert found, caption
        for match in found:
            number = NUMBERS[match["number"]]
            words = [match[name] for name in ("texture", "colour", "label") if match[name]]
            objects = fitting(scene, " ".join(words))
            if match["large"] or f"the largest of them {match[0]}" in text:
                assert max(scene.objects, key=lambda each: each.area_px) in objects, caption
            elif match["small"]:
                assert number == len(scene.objects) - 1, caption
            else:
                assert number == len(objects), caption


def test_a_description_names_every_object_once() -> None:
    for scene in SCENES:
        said, _, ground = scene.description.rpartition(" on ")
        assert (
            ground.removeprefix("an ").removeprefix("a ") == f"{scene.background.tone} background"
        )
        named = [
            each.instance_id
            for match in COUNTED.finditer(said)
            for each in fitting(scene, match[0].partition(" ")[2])
            if NUMBERS[match["number"]] == len(fitting(scene, match[0].partition(" ")[2]))
        ]
        assert sorted(named) == sorted(each.instance_id for each in scene.objects), said


def test_relations_and_places_in_captions_are_right() -> None:
    known = Counter[str]()
    relation = re.compile(rf"an? {ANY_THING.format('first')} {RELATION} an? "
                          rf"{ANY_THING.format('second')}")  # fmt: skip
    place = re.compile(
        rf"an? {ANY_THING.format('thing')} (in the middle|on the left|on the right|at the top"
        r"|at the bottom|in the (?:top|bottom) (?:left|right) corner)"
    )
    for scene in SCENES:
        for caption in scene.captions:
            if match := relation.fullmatch(caption):
                assert related(scene, match), caption
                known["relation"] += 1
            elif match := place.fullmatch(caption):
                (only,) = fitting(scene, match["thing"])
                x, y = middle(only)[0] / 128, middle(only)[1] / 128
                where = match[2].split()
                assert ("left" in where) == (x < 1 / 3), caption
                assert ("right" in where) == (x > 2 / 3), caption
                assert ("top" in where) == (y < 1 / 3), caption
                assert ("bottom" in where) == (y > 2 / 3), caption
                known["place"] += 1
    assert min(known["relation"], known["place"]) > 30


def test_the_background_is_named() -> None:
    named = [
        (scene, match[1])
        for scene in SCENES
        for caption in scene.captions
        if (match := re.search(r"(?:on|against) an? ([a-z ]+) background$", caption))
    ]
    assert len(named) > 60
    assert all(scene.background.tone == tone for scene, tone in named)


def test_the_grammar_is_right() -> None:
    texts = [text for scene in SCENES for text in scene.captions]
    texts += [asked.question for scene in SCENES for asked in scene.questions]
    adjectives = {*COLOURS, *TEXTURES, "large", "smaller"}
    for text in texts:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert text == " ".join(text.split()), text
        words = re.findall("[a-z]+", text)
        for place, word in enumerate(words):
            if word in SINGULAR or word in SINGULAR.values():
                before = [each for each in words[:place] if each not in adjectives]
                is_several = before[-1] in {*NUMBERS, "any", "many"} - {"a", "an"}
                assert is_several == (word in SINGULAR), text
                assert is_several or before[-1] in {"a", "an", "the"}, text
