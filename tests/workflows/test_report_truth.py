"""`lakesight report --truth`: what an output says beside what is known, as `evaluate` judges it."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakesight.schemas import ANSWERS
from tests.worded import data, write_rows
from workflows.__main__ import main


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of scenes, and of an output that answers right and tells something else."""
    root = tmp_path_factory.mktemp("truth")
    words = ["--num-images", "0", "--num-val", "6", "--size", "64", "--processes", "1"]
    assert main(["scenes", str(root / "scenes"), *words]) == 0
    rows: dict[str, Any] = {
        one.path.name: {
            "caption": "a red circle",
            "answers": [
                {"question": each.text, "answer": each.answers[0]} for each in one.questions
            ],
        }
        for one in data(root / "scenes", "answer").pictures
    }
    fields = [pa.field("caption", pa.string()), pa.field("answers", ANSWERS)]
    write_rows(root / "scenes" / "images" / "val", root / "seen", fields, rows)
    return root


def figures_in(html: str) -> dict[str, str]:
    """Return what the report's tables say, by the name of the figure."""
    return dict(re.findall(r'<tr><td>([\w/]+)</td><td class="num">([\d.]+)</td></tr>', html))


def test_every_column_is_judged_as_evaluate_does(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, scenes, page = str(root / "seen"), str(root / "scenes"), root / "report.html"
    assert main(["report", seen, str(page), "--truth", scenes]) == 0
    html = page.read_text()
    assert re.findall(r"<h3>(\w+) <span", html) == ["caption", "answers"]
    told = figures_in(html)
    assert told["answers/accuracy"] == "1.000"
    for column, name in {"caption": "captions", "answers": "answers"}.items():
        capsys.readouterr()
        assert f"--column {column}</code>" in html
        assert main(["evaluate", seen, scenes, "--column", column, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["results"][name]
        figures = {f"{name}/{key}": f"{one:.3f}" for key, one in found.items() if "num_" not in key}
        assert figures.items() <= told.items()


def test_truth_that_says_nothing_of_any_column_is_a_mistake(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = root / "none.html"
    boxes = str(root / "scenes" / "annotations" / "instances_val.json")
    assert main(["report", str(root / "seen"), str(page), "--truth", boxes]) == 2
    assert capsys.readouterr().err.startswith("lakesight: ")
    assert not page.exists()


def test_captions_may_be_held_against_descriptions(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, scenes, page = str(root / "seen"), str(root / "scenes"), root / "described.html"
    assert main(["report", seen, str(page), "--truth", scenes, "--captions", "description"]) == 0
    html = page.read_text()
    told = figures_in(html)
    capsys.readouterr()
    words = ["--column", "caption", "--captions", "description"]
    assert " ".join(words) in html
    assert main(["evaluate", seen, scenes, *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]["captions"]
    assert told["captions/cider_d"] == f"{found['cider_d']:.3f}"
    assert told["answers/accuracy"] == "1.000"


def test_what_is_not_judged_is_told(root: Path) -> None:
    page, questions = root / "asked.html", root / "questions.json"
    asked = [
        {"image": one.path.name, "question": each.text, "answer": each.answers[0]}
        for one in data(root / "scenes", "answer").pictures
        for each in one.questions
    ]
    questions.write_text(json.dumps(asked))
    assert main(["report", str(root / "seen"), str(page), "--truth", str(questions)]) == 0
    html = page.read_text()
    assert re.findall(r"<h3>(\w+) <span", html) == ["answers"]
    assert "caption is not judged: " in html
