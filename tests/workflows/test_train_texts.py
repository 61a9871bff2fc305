"""`lakesight train` on captions and questions with mistakes: one line before Ray starts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workflows.__main__ import main

CAPTIONED = [{"image": "a.png", "caption": "a bus"}, {"image": "b.png", "caption": "a dog"}]
GOOD = CAPTIONED[:1]
BLANK = [{"image": "a.png", "caption": " "}]
ASKED = [{"image": "a.png", "question": "why?", "answer": []}]


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (CAPTIONED, ["--task", "retrieve"], "1 of 2 pictures of texts.json are missing, such as"),
        (CAPTIONED, ["--task", "write", "--questions.share", "0"], "1 of 2 pictures of texts.json"),
        (GOOD, ["--task", "retrieve"], "say --no-freeze-vision, or name what to start from"),
        (GOOD, ["--task", "write"], "texts.json is no file of questions: 0.question: Field req"),
        (
            GOOD,
            ["--task", "write", "--questions.share", "0"],
            "the second stage begins with a first one",
        ),
        (
            GOOD,
            ["--task", "write", "--questions.data", "other.json"],
            "other.json has no parts: name others to validate on with --questions.val",
        ),
        (BLANK, ["--task", "retrieve"], "one of the texts of a.png is empty"),
        (ASKED, ["--task", "write", "--captions.share", "0"], "'why?' about a.png has no answer"),
        (CAPTIONED, ["--task", "write", "--captions.prompt", " "], "the prompt is empty: expected"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    content: object,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("a.png")
    Path("texts.json").write_text(json.dumps(content))
    assert main(["train", "texts.json", "model", "--val", "texts.json", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("model").exists()
