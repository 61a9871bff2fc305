"""Answers made comparable, as the VQA evaluation and as SQuAD's evaluation do it.

VQA's (visualqa.org/evaluation, Antol et al., arXiv:1505.00468): small letters, no full stops but in
decimals, numbers to ten as digits, no articles, apostrophes put back into contractions, all other
marks but apostrophe and colon a space. Where the published program does otherwise than its
description, this goes with the program: a mark beside a space is dropped, and so are all marks of
an answer that has a comma between digits.
"""

import re
import string
from collections import Counter

from lakesight.metrics.language.lexicon import listed

NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}

ARTICLES = frozenset({"a", "an", "the"})

MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""What becomes a space, or is dropped."""

CONTRACTIONS = listed("""
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am
    mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're
    there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
    what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd
    you'd've you'll you're you've
""")
"""What has an apostrophe; not those that are another word without ("we'll", "i'd", "it's")."""


def _without_one(word: str) -> set[str]:
    """Return a contraction without each one of its apostrophes, and without any."""
    places = [place for place, mark in enumerate(word) if mark == "'"]
    return {word[:place] + word[place + 1 :] for place in places} | {word.replace("'", "")}


APOSTROPHES = {bare: word for word in CONTRACTIONS for bare in _without_one(word)}

DIGITS_COMMA = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")
SQUAD_ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def vqa_answer(answer: str) -> str:
    """Return an answer as the VQA evaluation compares it."""
    text = " ".join(answer.replace("\u2019", "'").split())
    plain = text
    for mark in MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if beside_space or DIGITS_COMMA.search(text) else " ")
    words = (NUMBERS.get(word, word) for word in FULL_STOP.sub("", plain.lower()).split())
    return " ".join(APOSTROPHES.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, references: list[str]) -> float:
    """Return how far an answer agrees with what people answered; all made comparable before.

    The mean over all sets of people but one (leave-one-out) of the part of three people who said
    so, at most 1. Of fewer than four people, all but one are asked for instead of three; of a
    single one, whose answer is then compared as it is.
    """
    total = len(references)
    agreed = references.count(answer)
    if total == 1:
        return float(agreed)
    needed = min(3, total - 1)
    with_one_less = agreed * min(max(agreed - 1, 0) / needed, 1.0)
    return (with_one_less + (total - agreed) * min(agreed / needed, 1.0)) / total


def squad_words(answer: str) -> list[str]:
    """Return the words of an answer: small letters, without punctuation and articles."""
    return SQUAD_ARTICLES.sub(" ", answer.lower().translate(NO_PUNCTUATION)).split()


def token_f1(answer: list[str], reference: list[str]) -> float:
    """Return the F1 of the words that two answers have in common, arXiv:1606.05250.

    Without a word in either, 1 where neither has one.
    """
    if not answer or not reference:
        return float(answer == reference)
    common = (Counter(answer) & Counter(reference)).total()
    return 2 * common / (len(answer) + len(reference))
