import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lakesight.errors import UserError
from lakesight.lake.output import Output
from lakesight.schemas import ANSWERS, CAPTIONS, CROP_CAPTIONS, embedding_type, output_schema
from tests.outputs import (
    EMBEDDER,
    LABELS,
    SCHEMA,
    SETTINGS,
    jpeg,
    row,
    write_output,
    write_pictures,
)
from workflows.report import Report

NAMES = [f"{number:02}.jpg" for number in range(10)]
HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would make of a report: elements with attributes and text, well nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.words.append((self.open[-1], data.strip()))

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a tag, and of a class where it is given."""
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and kind in (None, attrs.get("class"))
        ]

    @property
    def text(self) -> str:
        """All that can be read, without the style sheet."""
        return "\n".join(words for tag, words in self.words if tag != "style")


def report(output: str, path: Path, **options: Any) -> Page:
    assert Report.model_validate({"output": output, "report": str(path)} | options).run() == 0
    return Page(path.read_text())


@pytest.fixture
def local_output(tmp_path: Path) -> str:
    write_pictures(str(tmp_path / "source"), [*NAMES, "broken.jpg"])
    write_output(str(tmp_path / "source"), str(tmp_path / "seen"))
    return str(tmp_path / "seen")


def pixels(attrs: dict[str, str | None]) -> np.ndarray:
    """Return the picture inside an `<img>`."""
    source = attrs["src"]
    assert source is not None
    head, _, data = source.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_shows_each_picture_with_what_was_seen(new_root: Callable[[], str], tmp_path: Path) -> None:
    source, output = new_root(), new_root()
    write_pictures(source, [*NAMES, "broken.jpg"])
    write_output(source, output)
    page = report(output, tmp_path / "report.html")
    images = page.all("img")
    assert sorted(str(attrs["alt"]) for attrs in images) == NAMES
    for attrs in images:
        expected = np.asarray(Image.open(io.BytesIO(jpeg(str(attrs["alt"])))))
        assert np.abs(pixels(attrs).astype(int) - expected).max() <= 6
    seen = [row(name) for name in NAMES]
    boxes = page.all("rect", "box")
    assert len(boxes) == sum(len(each["detections"]) for each in seen)
    assert {attrs["viewbox"] for attrs in page.all("svg", "overlay")} == {"0 0 96 64"}
    assert len(page.all("circle", "joint")) == 17 * len(NAMES)
    for each in seen:
        assert each["caption"] in page.text
    assert "class dog 0.75" in page.text


def test_embeddings_are_counted_and_features_are_none(tmp_path: Path) -> None:
    fields = [
        pa.field("embedding", embedding_type(4)),
        pa.field("embeddings", pa.list_(embedding_type(4))),
        pa.field("features", pa.list_(pa.list_(pa.float16(), 3), 2)),
    ]
    seen = {"embedding": [1, 0, 0, 0], "embeddings": [[1, 0, 0, 0]], "features": [[1, 2, 3]] * 2}
    write_pictures(str(tmp_path / "source"), NAMES)
    write_output(
        str(tmp_path / "source"),
        str(tmp_path / "seen"),
        schema=output_schema(fields),
        change=seen,
    )
    page = report(str(tmp_path / "seen"), tmp_path / "report.html")
    words = [said for _, said in page.words]
    assert words.count("embeddings") == 2
    assert {"in embedding", "in embeddings"} <= set(words)
    assert "in features" not in words


def test_counts_what_was_seen(local_output: str, tmp_path: Path) -> None:
    page = report(local_output, tmp_path / "report.html")
    labels = [each["label"] for name in NAMES for each in row(name)["detections"]]
    names = [words for tag, words in page.words if tag == "span"]
    for label in LABELS:
        assert names[names.index(label) + 1] == str(labels.count(label))
    assert ("dd", "11") in page.words
    assert ("dd", str(len(labels))) in page.words


def test_lists_errors(local_output: str, tmp_path: Path) -> None:
    page = report(local_output, tmp_path / "report.html")
    cells = [words for tag, words in page.words if tag in ("td", "code")]
    start = cells.index("decode")
    assert cells[start : start + 3] == ["decode", "unsupported format", "not a picture"]
    assert cells[start + 3].endswith("/broken.jpg")
    assert cells[start + 4] == "1"


def test_says_that_there_was_no_error(tmp_path: Path) -> None:
    write_pictures(str(tmp_path / "source"), NAMES)
    write_output(str(tmp_path / "source"), str(tmp_path / "seen"))
    assert "None: every object was read" in report(str(tmp_path / "seen"), tmp_path / "r.html").text


def test_throughput_is_that_of_the_largest_run(local_output: str, tmp_path: Path) -> None:
    out = Output.open(local_output)
    read = {"rows": 1000, "errors": 3, "seconds": 8.0, "bytes": 5_000_000, "images_per_s": 125.0}
    seen = {"rows": 997, "errors": 0, "seconds": 20.0, "later": "unknown"}
    run = {"run_id": "run-1", "rows": 1000, "images_per_s": 99.5}
    out.record_run("run-1", run | {"stages": {"read": read, "detections": seen}})
    out.record_run("run-2", {"run_id": "run-2", "rows": 1, "stages": {"read": {"rows": 1}}})
    out.record_run("run-3", {"run_id": "run-3"})
    page = report(local_output, tmp_path / "report.html")
    cells = [words for tag, words in page.words if tag == "td"]
    start = cells.index("read")
    assert cells[start : start + 6] == ["read", "1,000", "3", "8.0", "125.0", "5.0"]
    assert cells[start + 6 : start + 10] == ["detections", "997", "0", "20.0"]
    assert "The largest of 2 runs, run-1" in page.text
    assert ("dd", "99.5") in page.words


def test_names_the_models_and_where_it_comes_from(local_output: str, tmp_path: Path) -> None:
    page = report(local_output, tmp_path / "report.html")
    card = SETTINGS["models"][0]["card"]
    assert ("h3", card["name"]) in page.words
    assert card["licences"]["weights"] in page.text
    for digest in card["sha256"].values():
        assert digest[:12] in page.text
    assert ("dd", Output.open(local_output).uri) in page.words
    assert ("dd", str(tmp_path / "source")) in page.words


def test_shows_as_many_pictures_as_asked_the_same_every_time(
    local_output: str, tmp_path: Path
) -> None:
    shown = [
        [
            attrs["alt"]
            for attrs in report(local_output, tmp_path / "r.html", num_pictures=number).all("img")
        ]
        for number in (3, 3, 6, 0)
    ]
    assert shown[0] == shown[1] == shown[2][:3]
    assert list(map(len, shown)) == [3, 3, 6, 0]


def test_loads_nothing_and_runs_nothing(local_output: str, tmp_path: Path) -> None:
    page = report(local_output, tmp_path / "report.html")
    assert not page.all("script") + page.all("link") + page.all("iframe") + page.all("base")
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    html = (tmp_path / "report.html").read_text()
    assert not re.search(r"url\(|@import|https?://", html)
    policy = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_hostile_names_labels_and_messages_stay_text(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "_")
    write_pictures(str(tmp_path / "source"), [f"{name}.jpg", f"broken{name}.jpg", '"><b>&.jpg'])
    box = {"box": [1.0, 2.0, 30.0, 40.0], "score": 0.5, "class_id": 1, "label": f"{HOSTILE}\"'>"}
    change = {
        "detections": [box],
        "classes": [{"class_id": 1, "label": HOSTILE, "score": 0.5}],
        "caption": f"</figure>{HOSTILE}",
    }
    out = write_output(str(tmp_path / "source"), str(tmp_path / "seen"), change=change)
    out.record_run("r", {"run_id": HOSTILE, "rows": 1, "stages": {HOSTILE: {"rows": 1}}})
    page = report(str(tmp_path / "seen"), tmp_path / "report.html")
    assert not page.all("script")
    assert not page.all("b")
    assert {'"><b>&.jpg', f"{name}.jpg"} == {attrs["alt"] for attrs in page.all("img")}
    assert f"</figure>{HOSTILE}" in page.text
    assert f"{HOSTILE}\"'> 0.50" in page.text
    assert HOSTILE in [words for tag, words in page.words if tag == "td"]


def test_turned_pictures_stand_upright_and_large_ones_are_made_small(tmp_path: Path) -> None:
    upright = Image.new("RGB", (900, 1800), "red")
    upright.paste("blue", (0, 900, 900, 1800))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    (tmp_path / "source").mkdir()
    upright.rotate(90, expand=True).save(tmp_path / "source" / "turned.jpg", exif=exif)
    write_output(
        str(tmp_path / "source"), str(tmp_path / "seen"), change={"width": 900, "height": 1800}
    )
    (attrs,) = report(str(tmp_path / "seen"), tmp_path / "report.html").all("img")
    shown = pixels(attrs)
    assert (attrs["width"], attrs["height"]) == (str(shown.shape[1]), str(shown.shape[0]))
    assert shown.shape[:2] == (800, 400)
    assert shown[:390, :, 0].min() > 240
    assert shown[410:, :, 2].min() > 240


def test_a_picture_that_is_gone_or_changed_is_said(local_output: str, tmp_path: Path) -> None:
    (tmp_path / "source" / "00.jpg").unlink()
    (tmp_path / "source" / "01.jpg").write_bytes(jpeg("another"))
    page = report(local_output, tmp_path / "report.html")
    assert len(page.all("img")) == len(NAMES) - 2
    assert page.text.count("The picture is not shown") == 2
    assert "does not exist any more" in page.text


def test_an_output_with_other_columns(tmp_path: Path) -> None:
    kind = SCHEMA.field("detections").type
    columns = [pa.field("cars", kind), pa.field("signs", kind), pa.field("alt text", pa.string())]
    box = {"box": [1, 2, 30, 40], "score": 0.5, "class_id": 1, "label": "car", "keypoints": None}
    change = {"cars": [box, box], "signs": [box | {"label": None}], "alt text": "a road"}
    write_pictures(str(tmp_path / "source"), NAMES[:2])
    write_output(
        str(tmp_path / "source"),
        str(tmp_path / "seen"),
        schema=output_schema(columns),
        settings={},
        change=change,
    )
    page = report(str(tmp_path / "seen"), tmp_path / "report.html")
    assert len(page.all("rect", "box")) == 6
    names = [words for tag, words in page.words if tag == "span"]
    assert names[names.index("car") + 1] == "4"
    assert names[names.index("class 1") + 1] == "2"
    assert page.text.count("a road") == 2


def test_shows_what_was_written_of_pictures_and_objects(tmp_path: Path) -> None:
    fields = [
        pa.field("cars", SCHEMA.field("detections").type),
        pa.field("captions", CAPTIONS),
        pa.field("answers", ANSWERS),
        pa.field("crop_captions", CROP_CAPTIONS),
    ]
    box = {"box": [1, 2, 30, 40], "score": 0.5, "class_id": 1, "label": "car", "keypoints": None}
    best = [
        {"text": "a road", "score": -0.25, "prompt": None},
        {"text": HOSTILE, "score": None, "prompt": None},
    ]
    change = {
        "cars": [box, box | {"score": 0.25}],
        "captions": best,
        "answers": [{"question": "is it <b>wet</b>?", "answer": "no", "score": 0.875}],
        "crop_captions": [None, "a red car"],
    }
    card = EMBEDDER.model_copy(update={"kind": "caption_crops"})
    spec = {"card": card.model_dump(mode="json"), "options": {"detections": "cars"}}
    write_pictures(str(tmp_path / "source"), NAMES[:2])
    write_output(
        str(tmp_path / "source"),
        str(tmp_path / "seen"),
        schema=output_schema(fields),
        settings={"models": [spec]},
        change=change,
    )
    page = report(str(tmp_path / "seen"), tmp_path / "report.html")
    words = [words for tag, words in page.words if tag in ("span", "small")]
    first = words.index("a road")
    assert words[first : first + 8] == [
        *("a road", "-0.25", HOSTILE),
        *("is it <b>wet</b>?", "no", "0.88"),
        *("car 0.25", "a red car"),
    ]
    assert len(page.all("li")) >= 8
    assert not page.all("b")
    tiles = [words for tag, words in page.words if tag in ("dt", "dd")]
    for name in ("captioned", "answered"):
        assert tiles[tiles.index(name) + 1] == "2"


def test_an_output_without_rows(tmp_path: Path) -> None:
    Output.open(str(tmp_path / "seen")).bind(SETTINGS, SCHEMA)
    page = report(str(tmp_path / "seen"), tmp_path / "report.html")
    assert ("dd", "0") in page.words


def test_writes_to_a_bucket(
    new_bucket: Callable[[], str], tmp_path: Path, local_output: str
) -> None:
    from lakesight.lake.store import Store

    bucket = new_bucket()
    Report(output=local_output, report=f"s3://{bucket}/reports/seen.html").run()
    store, key = Store.open(f"s3://{bucket}/reports/seen.html")
    assert len(Page(store.get(key).decode()).all("img")) == len(NAMES)


@pytest.mark.parametrize("where", ["", "file/report.html"])
def test_a_place_that_cannot_be_written_is_one_line(
    where: str, local_output: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError):
        Report(output=local_output, report=str(tmp_path / where)).run()
    assert (tmp_path / "file").read_text() == "kept"
    assert not list(tmp_path.glob(".report*"))


def test_captions_without_a_truth_are_refused(local_output: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with pytest.raises(UserError, match="give --truth, too"):
        Report(output=local_output, report=str(report), captions="description").run()
    assert not report.exists()
