"""Words of captions, against Stanford's PTBTokenizer 3.4.1 (goldens.json, make_goldens.py)."""

import json
from pathlib import Path

import pytest

from lakesight.metrics.language.tokens import tokenize

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())
PAIRS = list(zip(GOLDENS["sentences"], GOLDENS["words"], strict=True))


def test_words_are_stanfords() -> None:
    wrong = {
        sentence: (words.split(), tokenize(sentence))
        for sentence, words in PAIRS
        if tokenize(sentence) != words.split()
    }
    assert len(PAIRS) > 450
    assert wrong == {}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", ""),
        (" . , ; : ! ? - -- ... ' \" ` ", ""),
        ("A man's dogs' bed isn't here; they cannot.",
         "a man 's dogs bed is n't here they can not"),
        ("I'm gonna wait. 'Tis 5 p.m.", "i 'm gon na wait 't is 5 p.m."),
        ("two-story, and/or 3-year-old", "two-story and/or 3-year-old"),
        ("$5.99, 50% of #1,000", "$ 5.99 50 % of # 1,000"),
        ("(a) [b] {c}", "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-"),
        ("a tie.a hat", "a tie.a hat"),
        ("Mr. Smith of St. Louis, U.S.", "mr. smith of st. louis u.s."),
        ("really?! no!! yes!", "really ?! no !! yes"),
        ("\u201ccurly\u201d it\u2019s \u2018so\u2019 … 😀", "curly it 's so"),
        ("see http://a.com/b?c=1, or a.com", "see http://a.com/b?c=1 or a.com"),
    ],
)  # fmt: skip
def test_what_it_does(caption: str, words: str) -> None:
    assert tokenize(caption) == words.split()


def test_a_last_letter_goes_by_how_captions_begin() -> None:
    assert tokenize("A sign for plan B.")[-1] == "b"
    assert tokenize("sign for plan B.")[-1] == "b."


def test_a_hostile_caption_takes_no_time() -> None:
    for piece in ("<a ", "a-", "a.", "https://a", "n'", "1,", "<a b=", "@a.", "a/b-", "''a"):
        assert tokenize(piece * 2000)
