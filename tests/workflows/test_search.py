"""Queries by row, picture and text, against the vectors that the same models wrote."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import lakesight
from lakesight.errors import UserError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.models import catalog
from lakesight.models.base import ModelSpec, TextEncoder
from lakesight.schemas import ANSWERS, CROP_CAPTIONS, ROW, output_schema, row_id
from tests.lakesight.models import tiny
from tests.outputs import SCHEMA, row, vector, write_output, write_pictures
from workflows.index import Index
from workflows.queries import names_picture
from workflows.search import Search, counted, seen

NAMES = [f"{number:02}.jpg" for number in range(12)]


def search(index: str, query: str, **options: Any) -> list[dict[str, Any]]:
    """Return what the command prints with --json."""
    file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", file)
        command = Search.model_validate({"index": index, "query": query, "json": True} | options)
        assert command.run() == 0
    return [json.loads(line) for line in file.getvalue().splitlines()]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of an output whose index lies at the `index` of `indexed`."""
    folder = tmp_path_factory.mktemp("rows")
    write_pictures(str(folder / "source"), NAMES)
    write_output(str(folder / "source"), str(folder / "seen"))
    Index(output=str(folder / "seen"), index=str(folder / "index")).run()
    read = lakesight.open(str(folder / "seen")).dataset().to_table().to_pylist()
    return [each | {"index": str(folder / "index")} for each in read]


def test_by_row_finds_the_others(rows: list[dict[str, Any]]) -> None:
    query, others = rows[3], rows[:3] + rows[4:]
    found = search(query["index"], f"id:{query['id']}", k=5)
    own = vector(query["uri"]).astype(np.float32)
    scores = {each["id"]: float(vector(each["uri"]).astype(np.float32) @ own) for each in others}
    best = sorted(scores, key=lambda each: -scores[each])[:5]
    assert [hit["id"] for hit in found] == best
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4, 5]
    expected = [scores[each] for each in best]
    assert [hit["score"] for hit in found] == pytest.approx(expected, abs=1e-6)  # of unit vectors


def test_all_but_the_row_itself(rows: list[dict[str, Any]]) -> None:
    found = search(rows[0]["index"], f"id:{rows[0]['id']}", k=100)
    assert {hit["id"] for hit in found} == {each["id"] for each in rows[1:]}


def test_results_carry_the_row(rows: list[dict[str, Any]]) -> None:
    (hit,) = search(rows[0]["index"], f"id:{rows[0]['id']}", k=1)
    (expected,) = [each for each in rows if each["id"] == hit["id"]]
    for name in set(expected) - {"index", "embedding"}:
        assert hit[name] == expected[name], name
    assert "embedding" not in hit


@pytest.mark.parametrize(
    ("where", "labels"),
    [
        ("list_contains([d.label for d in detections], 'dog')", {"dog"}),
        ("len([d for d in detections if d.label = 'person' AND d.score > 0.8]) >= 1", {"person"}),
        ("classes[1].label = 'class bus' AND width >= 96", {"bus"}),
        ("caption ILIKE '%Picture of a DOG' OR caption LIKE '%bus'", {"dog", "bus"}),
    ],
)
def test_a_condition_on_what_was_seen(
    where: str, labels: set[str], rows: list[dict[str, Any]]
) -> None:
    matching = {
        each["id"] for each in rows[1:] if row(each["uri"])["detections"][0]["label"] in labels
    }
    assert matching
    found = search(rows[0]["index"], f"id:{rows[0]['id']}", k=100, where=where)
    assert {hit["id"] for hit in found} == matching
    few = search(rows[0]["index"], f"id:{rows[0]['id']}", k=1, where=where)
    assert [hit["id"] for hit in few] == [found[0]["id"]]


def test_prints_a_table(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    Search(index=rows[0]["index"], query=f"id:{rows[0]['id']}", k=2).run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "score", "seen", "uri"]
    assert "a plain picture of a" in lines[2]
    assert lines[2].split()[-1].startswith("file://")
    assert lines[-1].startswith("2 of 12 rows of ")


def test_nothing_found_is_no_error(
    rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    query = {"index": rows[0]["index"], "query": f"id:{rows[0]['id']}", "where": "false"}
    assert Search.model_validate(query).run() == 0
    assert capsys.readouterr().out.startswith("0 of 12 rows")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("a red bus", "reads no text"),
        (" ", "the query is empty"),
        ("nowhere/photo.jpg", "no picture at nowhere/photo.jpg"),
        ("id:123", "32 hex digits"),
        (f"id:{row_id('s3://nobody/x', 'e')}", "no row with the id"),
        (__file__, "cannot be read: unsupported format"),
    ],
)
def test_a_mistake_is_one_line(query: str, says: str, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Search(index=rows[0]["index"], query=query).run()
    assert "\n" not in str(caught.value)


def test_no_index_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lakesight index"):
        Search(index=str(tmp_path), query="photo.jpg").run()


def photos(folder: Path, num: int) -> list[Path]:
    """Write JPEGs of a size that is decoded at a reduced scale, each with its own content."""
    folder.mkdir(parents=True)
    for number in range(num):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    return sorted(folder.iterdir())


def index_by(spec: ModelSpec, paths: Sequence[Path], folder: Path) -> str:
    """Embed pictures as the batch job does, together in one batch; return their index."""
    model = catalog.build(spec)
    with DecodePool([model.view], Limits(), num_processes=1) as pool:
        decoded = dict(pool.decode(enumerate(path.read_bytes() for path in paths)))
    views = [decoded[place].views[0] for place in range(len(paths))]  # type: ignore[union-attr]
    sizes = pa.table({"width": [1600] * len(paths), "height": [1200] * len(paths)})
    vectors = model.predict(views, sizes)
    values = dict(zip([path.name for path in paths], vectors.to_pylist(), strict=True))
    settings = {"models": [spec.model_dump(mode="json")]}
    schema = output_schema([model.output])
    write_output(
        str(paths[0].parent),
        str(folder / "seen"),
        settings=settings,
        schema=schema,
        embeddings=values,
    )
    Index(output=str(folder / "seen"), index=str(folder / "index")).run()
    return str(folder / "index")


def test_by_picture_gives_the_value_of_the_batch(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 4)
    index = index_by(catalog.spec("efficientnet-lite3", "embed"), paths, tmp_path)
    for path in paths:
        found = search(index, str(path), k=4)
        assert found[0]["uri"].endswith(f"/{path.name}")
        by_row = search(index, f"id:{found[0]['id']}", k=3)
        # the scores of the others agree to the bit: so does the vector that was looked up
        assert [hit["score"] for hit in found[1:]] == [hit["score"] for hit in by_row]


def test_by_text_where_the_model_reads_text(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", 4)
    checkpoint = tiny.write("clip", tmp_path / "clip")
    spec = catalog.spec(str(checkpoint), "embed", licences_accepted=["unknown"])
    index = index_by(spec, paths, tmp_path)
    model = catalog.build(spec)
    assert isinstance(model, TextEncoder)
    words = model.embed_text(["a red bus"])[0]
    rows = lakesight.open(str(tmp_path / "seen")).dataset().to_table().to_pylist()
    scores = {each["id"]: float(np.float32(each["embedding"]) @ words) for each in rows}
    found = search(index, "a red bus", k=4)
    assert [hit["id"] for hit in found] == sorted(scores, key=lambda each: -scores[each])
    assert [hit["score"] for hit in found] == pytest.approx(sorted(scores.values(), reverse=True))


def test_a_model_of_scenes_says_so_of_a_photo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = photos(tmp_path / "photos", 2)
    index = index_by(catalog.spec("starter-blip2-retrieve", "embed"), paths, tmp_path)
    search(index, str(paths[0]))
    warning = capsys.readouterr().err
    assert "starter-blip2-retrieve learned from pictures of `lakesight scenes` alone" in warning
    search(index, "a red star")
    (tmp_path / "scenes.json").write_text("{}")
    search(index, str(paths[0]))
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "is_picture"),
    [
        ("photo.JPG", True),
        ("s3://bucket/anything", True),
        ("file:///a/b", True),
        (__file__, True),
        ("a red bus", False),
        ("what is this?", False),
        ("jpg", False),
        ("a long story " * 50, False),
        ("a bus. A dog", False),
    ],
)
def test_pictures_are_told_from_words(text: str, is_picture: bool) -> None:
    assert names_picture(text) is is_picture


def test_answers_and_captions_of_objects_come_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = [pa.field("answers", ANSWERS), pa.field("crop_captions", CROP_CAPTIONS)]
    schema = output_schema([*list(SCHEMA)[len(ROW) :], *fields])
    said: dict[str, Any] = {
        "caption": None,
        "answers": [{"question": "is it wet?", "answer": "no", "score": 0.5}],
        "crop_captions": [None, "a red car"],
    }
    write_pictures(str(tmp_path / "source"), NAMES[:2])
    write_output(str(tmp_path / "source"), str(tmp_path / "seen"), schema=schema, change=said)
    index = str(tmp_path / "index")
    Index(output=str(tmp_path / "seen"), index=index).run()
    first = lakesight.open(str(tmp_path / "seen")).dataset().to_table().to_pylist()[0]
    (hit,) = search(index, f"id:{first['id']}")
    assert {name: hit[name] for name in said} == said
    capsys.readouterr()
    Search(index=index, query=f"id:{first['id']}").run()
    assert ": a red car; is it wet? no" in capsys.readouterr().out


def test_says_in_short_what_was_seen() -> None:
    found = [{"label": label} for label in ("person", "bus", "person")]
    assert seen({"caption": "a street", "detections": found}) == "a street"
    assert seen({"caption": None, "detections": found}) == "2 person, bus"
    assert seen({"detections": [], "classes": [{"label": "cat"}]}) == "cat"
    assert seen({"uri": "x"}) == ""
    best = [{"text": "a road", "score": -0.1}, {"text": "a street", "score": -0.2}]
    assert seen({"captions": best, "classes": [{"label": "cat"}]}) == "a road"
    answers = [{"question": "how many?", "answer": "3"}, {"question": "where?", "answer": "here"}]
    assert seen({"caption": "a street", "answers": answers}) == "a street; how many? 3; where? here"
    assert seen({"caption": None, "answers": answers[:1]}) == "how many? 3"
    crops = ["a man", None, "a red bus"]
    assert seen({"detections": found, "crop_captions": crops}) == "2 person, bus: a man, a red bus"
    assert seen({"detections": found, "crop_captions": None, "answers": []}) == "2 person, bus"
    assert counted(["a", "b", "c", "d", "e", "e"]) == "2 e, a, b, c"
