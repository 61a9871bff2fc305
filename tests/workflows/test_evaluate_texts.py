"""`lakesight evaluate` for captions, answers and search, as a user types it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakesight.models import catalog
from lakesight.models.base import ModelSpec
from lakesight.models.look import look
from lakesight.schemas import ANSWERS, embedding_type
from tests.lakesight.models import tiny
from tests.worded import data, write_rows
from workflows.__main__ import main

LICENCES = ["--allow-licence", "unknown", "--allow-licence", "opt-175b-licence"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of scenes, checkpoints, and an output that says what is true."""
    root = tmp_path_factory.mktemp("texts")
    words = ["--num-images", "0", "--num-val", "6", "--size", "64", "--processes", "1"]
    assert main(["scenes", str(root / "scenes"), *words]) == 0
    for name in ("clip", "blip2-opt", "blip2-itc"):
        tiny.write(name, root / name)
    spec = catalog.spec(str(root / "clip"), "embed", {"device": "cpu"}, "auto", ["unknown"])
    write_seen(root, spec)
    write_all_vectors(root)
    return root


def write_seen(root: Path, spec: ModelSpec) -> None:
    """Write the output `seen`: the truth's words, and the vectors of a model; and one `bare`."""
    pictures, asked = data(root / "scenes", "caption"), data(root / "scenes", "answer")
    vectors = look(catalog.build(spec), [one.path for one in pictures.pictures])
    rows: dict[str, Any] = {}
    for one, other, vector in zip(pictures.pictures, asked.pictures, vectors, strict=True):
        rows[one.path.name] = {
            "caption": one.captions[0],
            "answers": [
                {"question": each.text, "answer": each.answers[0]} for each in other.questions
            ],
            "embedding": vector.as_py(),
        }
    kind = embedding_type(len(np.asarray(vector.as_py())))
    fields = [pa.field("caption", pa.string()), pa.field("answers", ANSWERS)]
    fields.append(pa.field("embedding", kind))
    folder = root / "scenes" / "images" / "val"
    write_rows(folder, root / "seen", fields, rows, [spec.model_dump(mode="json")])
    write_rows(folder, root / "bare", fields[2:], rows)


def write_all_vectors(root: Path) -> None:
    """Write the output `every`: all vectors of each picture, as `--set embed.queries=all` does."""
    options = {"device": "cpu", "queries": "all"}
    spec = catalog.spec(str(root / "blip2-itc"), "embed", options, "auto", ["unknown"])
    model = catalog.build(spec)
    paths = [one.path for one in data(root / "scenes", "caption").pictures]
    vectors = look(model, paths)
    rows = {
        path.name: {model.output.name: vector.as_py()}
        for path, vector in zip(paths, vectors, strict=True)
    }
    folder = root / "scenes" / "images" / "val"
    write_rows(folder, root / "every", [model.output], rows, [spec.model_dump(mode="json")])


def evaluated(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> dict[str, Any]:
    """Return the one JSON object that a command prints; its first two words are in the root."""
    capsys.readouterr()
    places = [str(root / words[0]), str(root / words[1])]
    assert main(["evaluate", *places, *words[2:], "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_captions_of_an_output(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(root.rglob("*"))
    assert main(["evaluate", str(root / "seen"), str(root / "scenes"), "--bootstrap"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("6 pictures\n")
    for word in ("bleu4", "rouge_l", "cider_d", "from", "to"):
        assert word in told.out
    assert told.err == ""
    assert set(root.rglob("*")) == before
    whole = evaluated(capsys, root, "seen", "scenes", "--captions", "description")
    assert (whole["task"], whole["split"]) == ("caption", "val")
    assert 0 < whole["results"]["captions"]["bleu4"] < 1
    own = evaluated(capsys, root, "seen", "scenes", "--slice", "label")
    assert own["fitness"] == own["results"]["captions"]["cider_d"] > whole["fitness"]
    assert sum(one["captions"]["num_pictures"] for one in own["slices"]["label"].values()) <= 6


@pytest.mark.parametrize("words", [["--task", "answer"], ["--column", "answers"]])
def test_answers_of_an_output(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    found = evaluated(capsys, root, "seen", "scenes", *words, "--slice", "kind", "--bootstrap")
    assert found["task"] == "answer"
    assert found["results"]["answers"]["accuracy"] == 1
    assert found["results"]["answers"]["intervals"]["accuracy"] == [1, 1]
    assert "count" in found["slices"]["kind"]


def test_a_search_of_an_output_is_that_of_its_model(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = evaluated(capsys, root, "seen", "scenes", "--task", "retrieve")
    named = ["--text-model", str(root / "clip"), "--allow-licence", "unknown"]
    assert evaluated(capsys, root, "bare", "scenes", *named)["results"] == recorded["results"]
    model = evaluated(capsys, root, "clip", "scenes", "--allow-licence", "unknown")
    assert model["task"] == "retrieve"
    ours, theirs = (one["results"]["retrieval"] for one in (recorded, model))
    assert ours["num_text_to_image_queries"] == theirs["num_text_to_image_queries"] > 6
    for name, value in theirs.items():  # float16 in the table may turn near neighbours around
        assert ours[name] == pytest.approx(value, abs=1 if "median" in name else 0.1)


def test_all_vectors_of_a_picture_are_searched_by_the_model_that_made_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(capsys, root, "every", "scenes", "--task", "retrieve")
    model = evaluated(capsys, root, "blip2-itc", "scenes", "--allow-licence", "unknown")
    ours, theirs = (one["results"]["retrieval"] for one in (found, model))
    for name, value in theirs.items():  # float16 in the table may turn near neighbours around
        assert ours[name] == pytest.approx(value, abs=1 if "median" in name else 0.1)


def test_captions_of_a_model(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "max_new_tokens=4", "--set", "num_beams=1", *LICENCES]
    found = evaluated(capsys, root, "blip2-opt", "scenes", *words, "--batch-size", "4")
    assert found["task"] == "caption"
    assert found["results"]["captions"]["num_pictures"] == 6
    assert found["notes"] == []


def test_answers_of_a_model(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "scenes" / "images" / "val"
    asked = [
        {"image": path.name, "question": question, "answer": "yes"}
        for path in sorted(folder.iterdir())
        for question in ("red?", "a star?")
    ]
    (root / "short.json").write_text(json.dumps(asked))
    words = ["--task", "answer", "--images", str(folder), "--set", "max_new_tokens=2", *LICENCES]
    found = evaluated(capsys, root, "blip2-opt", "short.json", *words, "--batch-size", "4")
    assert found["task"] == "answer"
    assert found["results"]["answers"]["num_questions"] == 12
    assert found["results"]["answers"]["accuracy"] == 0  # of random weights


@pytest.fixture(scope="module")
def bad(root: Path) -> Path:
    """Write data with mistakes beside the rest."""
    pictures = sorted(one.name for one in (root / "scenes" / "images" / "val").iterdir())
    images = [{"id": number, "file_name": name} for number, name in enumerate(pictures)]
    said = [{"image_id": 0, "caption": "a red star"}]
    for name, content in {
        "blank.json": {"images": images, "annotations": said},
        "other.json": [{"image": "x.jpg", "caption": "a dog"}],
        "silent.json": [{"image": pictures[0], "question": "why?", "answer": []}],
        "strange.json": [{"image": pictures[0], "question": "why?", "answer": "so"}],
    }.items():
        (root / name).write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seen", "blank.json"], "has no captions: give it some, or leave the picture out"),
        (["seen", "other.json"], "none of the 6 rows, such as"),
        (["blip2-opt", "other.json", *LICENCES], "1 of 1 pictures of other.json are missing"),
        (["seen", "silent.json", "--task", "answer"], "'why?' about 000000.jpg has no answer"),
        (["seen", "strange.json", "--task", "answer"], "such as 'why?', was answered, but others"),
        (["seen", "other.json", "--task", "answer"], "other.json is no file of questions"),
        (["bare", "scenes", "--task", "answer"], "has no column 'answers', but id, uri"),
        (["bare", "scenes", "--column", "caption"], "has no column 'caption', but id, uri"),
        (["seen", "scenes", "--task", "caption", "--column", "answers"], "suits the task answer"),
        (["seen", "scenes", "--task", "retrieve", "--column", "caption"], "suits the task caption"),
        (["seen", "scenes", "--column", "uri"], "no objects, classes, captions, answers or emb"),
        (["bare", "scenes"], "does not say which model made 'embedding': name it as --text-model"),
        (["bare", "scenes", "--text-model", "clip"], "under 'unknown', which is not on the list"),
        (["seen", "scenes", "--split", "test"], "has no split test"),
        (["seen", "scenes", "--slice", "kind"], "no picture has the slice 'kind'"),
        (["seen", "scenes", "--plots", "plots"], "the task caption is about words: leave it out"),
        (["seen", "scenes", "--task", "answer", "--extra", "spice"], "are figures of captions"),
        (["clip", "scenes", "--task", "caption"], "expected a model of kind caption, but clip is"),
        (["clip", "scenes", "--text-model", "clip"], "clip is no output, and --text-model is for"),
        (["clip", "scenes", "--images", "s3://b/x", *LICENCES], "looked at in a folder"),
    ],
)
def test_mistakes_are_said_in_one_line(
    bad: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(bad)
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
