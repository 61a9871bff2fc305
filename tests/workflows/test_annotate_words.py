"""`lakesight annotate` with models that write: captions, answers, and captions of objects."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import lakesight
from lakesight import query
from lakesight.schemas import ANSWERS, CROP_CAPTIONS, ROW
from tests.annotating import MODEL, assert_exactly_once, run
from tests.documented import documented
from tests.lakesight.models import tiny
from workflows.__main__ import main
from workflows.demo import open_photo

pytestmark = pytest.mark.usefixtures("shared_ray")

NAMES = ["astronaut.png", "chelsea.png", "coffee.png", "nothing.png", "broken.jpg"]
SAID = pa.table(
    {
        "uri": NAMES,
        "prompt": ["a photo of", None, " ", "this is", "a photo of"],
        "questions": pa.array(
            [["who?", "where?"], None, None, [], ["who?"]], pa.list_(pa.string())
        ),
        "candidates": pa.array([["a man", "a cat"], None, None, None, None], pa.list_(pa.string())),
    }
)
CAPTION: dict[str, Any] = {"max_new_tokens": 6, "num_beams": 2}
ANSWER: dict[str, Any] = {
    "max_new_tokens": 4,
    "questions": ["is it raining?"],
    "candidates": ["yes", "no", "2"],
}
CROPS: dict[str, Any] = {"max_new_tokens": 5, "num_beams": 1, "min_score": 0.5, "prompt": "a red"}


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BLIP-2 that may be used without consent."""
    folder = tiny.write("blip2-t5", tmp_path_factory.mktemp("blip2") / "tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return str(folder)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a list that says something of each."""
    folder = tmp_path_factory.mktemp("listed")
    for name in NAMES[:3]:  # in PNG: how a JPEG is decoded depends on all that look at it
        photo = open_photo("skimage.data", name)
        photo.resize((photo.width // 4, photo.height // 4)).save(folder / name)
    Image.new("RGB", (64, 48), "white").save(folder / "nothing.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    uris = pa.array([str(folder / name) for name in NAMES])
    pq.write_table(SAID.set_column(0, "uri", uris), folder / "list.parquet")
    return folder


@pytest.mark.slow
def test_every_model_writes_what_it_says_alone(blip2: str, listed: Path, tmp_path: Path) -> None:
    """Pools of their own, so that what the list says travels to the models through Ray."""
    output = str(tmp_path / "seen")
    words = ["annotate", str(listed / "list.parquet"), output, "--separate-pools"]
    words += ["--detect", MODEL]
    for kind, options in {"caption": CAPTION, "answer": ANSWER, "caption-crops": CROPS}.items():
        words += [f"--{kind}", blip2]
        for name, value in options.items():
            said = value if isinstance(value, str) else json.dumps(value)
            words += ["--set", f"{kind.replace('-', '_')}.{name}={said}"]
    run(*words)
    assert_exactly_once(output, len(NAMES))
    lake = lakesight.open(output)
    schema = lake.dataset().schema
    columns = ["detections", "caption", "answers", "crop_captions"]
    assert schema.names == [*ROW.names, *columns]
    assert [schema.field(name).type for name in columns[1:]] == [
        pa.string(),
        ANSWERS,
        CROP_CAPTIONS,
    ]
    rows = {row["uri"].rpartition("/")[2]: row for row in lake.dataset().to_table().to_pylist()}
    assert {name: row[columns[0]] is None for name, row in rows.items()} == {
        name: name == "broken.jpg" for name in NAMES
    }
    _check_captions(rows, listed, blip2)
    _check_answers(rows, listed, blip2)
    _check_crops(rows, listed, blip2)
    statement = documented("unnest(crop_captions)", "captions.md")
    described = query.select(query.open_rows(lake), statement.replace("'person'", "'cat'"))
    assert described.read_all().column_names == ["uri", "label", "description"]
    (record,) = lake.runs()
    assert record["errors"] == {"decode": 1, "caption": 1}
    assert [*record["stages"]] == ["read", "detect", "caption", "answer", "caption_crops"]


def _check_captions(rows: dict[str, Any], listed: Path, blip2: str) -> None:
    error = rows["coffee.png"]["error"]
    assert (error["stage"], error["type"]) == ("caption", "ValueError")
    assert "the prompt is empty" in error["message"]
    captioner = lakesight.load(blip2, kind="caption", device="cpu", **CAPTION)
    for place in (0, 1, 3):
        prompt = SAID["prompt"].slice(place, 1).combine_chunks()
        alone = captioner.predict(listed / NAMES[place], prompt=prompt).column
        assert rows[NAMES[place]]["caption"] == alone[0].as_py()


def _check_answers(rows: dict[str, Any], listed: Path, blip2: str) -> None:
    answerer = lakesight.load(blip2, kind="answer", device="cpu", **ANSWER)
    for place, name in enumerate(NAMES[:4]):
        own = {
            column: SAID[column].slice(place, 1).combine_chunks()
            for column in ("questions", "candidates")
        }
        (alone,) = answerer.predict(listed / name, **own).column.to_pylist()
        found = rows[name]["answers"]
        assert [one["answer"] for one in found] == [one["answer"] for one in alone]
        scores = [one["score"] for one in alone]
        assert [one["score"] for one in found] == pytest.approx(scores, rel=1e-3)
    questions = {name: [one["question"] for one in rows[name]["answers"]] for name in NAMES[:4]}
    assert questions == {
        "astronaut.png": ["who?", "where?"],
        "chelsea.png": ["is it raining?"],
        "coffee.png": ["is it raining?"],
        "nothing.png": [],
    }
    assert {one["answer"] for one in rows["astronaut.png"]["answers"]} <= {"a man", "a cat"}
    assert rows["chelsea.png"]["answers"][0]["answer"] in ("yes", "no", "2")


def _check_crops(rows: dict[str, Any], listed: Path, blip2: str) -> None:
    describe = lakesight.load(blip2, kind="caption_crops", device="cpu", **CROPS)
    described = 0
    for name in NAMES[:4]:
        found = rows[name]["detections"]
        column = pa.array([found], lakesight.load(MODEL).model.output.type)
        alone = describe.predict(listed / name, detections=column).column
        assert rows[name]["crop_captions"] == alone[0].as_py()
        assert len(rows[name]["crop_captions"]) == len(found)
        described += sum(text is not None for text in rows[name]["crop_captions"])
    assert described > 0


MISTAKES = {
    "nothing asked": (["--answer", "{blip2}"], "nothing is asked of tiny"),
    "crops of nothing": (["--caption-crops", "{blip2}"], "in the column 'detections'"),
    "crops of another column": (
        ["--detect", f"cars={MODEL}", "--caption-crops", "{blip2}"],
        "--set caption_crops.detections=COLUMN",
    ),
    "a column that lists bring": (["--detect", f"prompt={MODEL}"], "name another"),
    "an empty question": (
        ["--answer", "{blip2}", "--set", "answer.questions=['']"],
        "a question is empty",
    ),
    "a list without quotes": (
        ["--answer", "{blip2}", "--set", "answer.questions=[is it red?, no]"],
        "put its texts in quotes",
    ),
    "an empty prompt": (["--caption", "{blip2}", "--set", "caption.prompt= "], "prompt is empty"),
    "a detector that answers": (["--answer", MODEL], "expected a model of kind answer"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_writes_nothing(
    mistake: str, blip2: str, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = MISTAKES[mistake]
    output = tmp_path / "out"
    given = [word.format(blip2=blip2) for word in words]
    assert main(["annotate", str(listed), str(output), *given]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1, said
    assert not output.exists()
