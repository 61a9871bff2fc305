"""Rows of an output beside labels: which belong together, and what is said of the others."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import Evaluation, evaluate_output
from lakesight.evaluation.pairing import paired
from lakesight.metrics import DetectionResult
from lakesight.training.blip2.texts import Told
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.sources import open_data
from tests.outputs import LABELS, row, write_output, write_pictures

NAMES = ["a.jpg", "b.jpg", "c d.jpg", "broken.jpg"]


def labels_of(folder: Path, names: Sequence[str], images: str) -> Pictures:
    """Return labels that say exactly what the output holds, and a person on broken pictures."""
    annotations: list[dict[str, Any]] = []
    for number, name in enumerate(names, 1):
        person = {"box": [0, 0, 20, 20], "label": "person"}
        for found in row(quote(name)).get("detections", [person]):
            left, top, right, bottom = found["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": LABELS.index(found["label"]),
                    "bbox": [left, top, right - left, bottom - top],
                }
            )
    content: dict[str, Any] = {
        "images": [
            {"id": number, "file_name": name, "width": 96, "height": 64}
            for number, name in enumerate(names, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for number, label in enumerate(LABELS)],
    }
    folder.mkdir(exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(content))
    return open_data(str(folder / "labels.json"), "val", "detect", images=images, local=False)


def box_of(result: Evaluation) -> DetectionResult:
    box = result.results["box"]
    assert isinstance(box, DetectionResult)
    return box


def is_perfect(result: Evaluation) -> bool:
    return box_of(result).map == pytest.approx(1, abs=1e-9)


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Return an output of four pictures, one of them broken."""
    write_pictures(str(tmp_path / "photos"), NAMES)
    write_output(str(tmp_path / "photos"), str(tmp_path / "seen"), rows_per_file=2)
    return str(tmp_path / "seen")


@pytest.mark.parametrize("place", ["photos", "elsewhere"])
def test_by_uri_or_else_by_name(output: str, tmp_path: Path, place: str) -> None:
    if place == "elsewhere":
        shutil.copytree(tmp_path / "photos", tmp_path / place)
    labels = labels_of(tmp_path, NAMES[:3], str(tmp_path / place))
    result = evaluate_output(lakesight.open(output), labels, "detections")
    assert is_perfect(result)
    assert box_of(result).num_pictures == 3
    (note,) = result.notes
    assert note.startswith("the labels lack 1 pictures such as 'file://")
    assert note.endswith("broken.jpg' of the output: they do not count")


def test_what_could_not_be_looked_at_counts_as_nothing_found(output: str, tmp_path: Path) -> None:
    labels = labels_of(tmp_path, [*NAMES, "new.jpg"], str(tmp_path / "photos"))
    result = evaluate_output(lakesight.open(output), labels, "detections")
    box = box_of(result)
    assert (box.num_pictures, box.num_truth - box.num_found) == (4, 1)
    assert box.map50 < 1
    unseen, blank = result.notes
    assert unseen.startswith("the output lacks 1 pictures such as")
    assert "new.jpg' that are labelled: they do not count" in unseen
    assert blank == "1 picture has no value, which counts as nothing found"


def test_a_file_of_the_output_may_have_no_labelled_row(output: str, tmp_path: Path) -> None:
    labels = labels_of(tmp_path, NAMES[:1], str(tmp_path / "photos"))
    result = evaluate_output(lakesight.open(output), labels, "detections")
    assert is_perfect(result)
    assert box_of(result).num_pictures == 1


def test_an_output_may_be_the_truth(output: str) -> None:
    labels = open_data(output, "train", "detect")
    result = evaluate_output(lakesight.open(output), labels, "detections")
    assert is_perfect(result)


def test_pictures_of_a_bucket_belong_together_by_uri(
    new_bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bucket = f"s3://{new_bucket()}"
    write_pictures(f"{bucket}/photos", NAMES)
    write_output(f"{bucket}/photos", f"{bucket}/seen")
    labels = open_data(f"{bucket}/seen", "train", "detect")
    result = evaluate_output(lakesight.open(f"{bucket}/seen"), labels, "detections")
    assert is_perfect(result)


def test_captions_of_a_bucket_belong_together_by_uri() -> None:
    told = [
        Told(Path("b.jpg"), ("x",), uri="s3://bucket/one/b.jpg"),
        Told(Path("c.jpg"), ("y",), uri="s3://bucket/one/c.jpg"),
    ]
    assert paired(told, ["s3://bucket/two/b.jpg", "s3://bucket/one/b.jpg"]) == {
        "s3://bucket/one/b.jpg": told[0]
    }
    assert paired(told, ["s3://bucket/two/c.jpg"]) == {"s3://bucket/two/c.jpg": told[1]}


def test_other_pictures_are_refused(output: str, tmp_path: Path) -> None:
    labels = labels_of(tmp_path, ["x.jpg"], str(tmp_path / "photos"))
    with pytest.raises(
        UserError, match=r"none of the 4 rows, .* neither their uris nor their file"
    ):
        evaluate_output(lakesight.open(output), labels, "detections")


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_pictures(str(tmp_path / "photos"), ["one/a.jpg", "two/a.jpg", "b.jpg"])
    write_output(str(tmp_path / "photos"), str(tmp_path / "seen"))
    lake = lakesight.open(str(tmp_path / "seen"))
    labels = labels_of(tmp_path, ["a.jpg", "b.jpg"], str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"several rows are called a\.jpg"):
        evaluate_output(lake, labels, "detections")
    labels = labels_of(tmp_path, ["b.jpg"], str(tmp_path / "elsewhere"))
    assert is_perfect(evaluate_output(lake, labels, "detections"))
    labels = labels_of(tmp_path, ["b.jpg", "x/b.jpg"], str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"several labelled pictures are called b\.jpg"):
        evaluate_output(lake, labels, "detections")


def test_labels_of_another_size_are_refused(output: str, tmp_path: Path) -> None:
    labels = labels_of(tmp_path, NAMES, str(tmp_path / "photos"))
    labels = replace(labels, pictures=[replace(o, size_wh=(192, 128)) for o in labels.pictures])
    with pytest.raises(
        UserError, match=r"a\.jpg is 96 x 64 pixels upright, its labels say 192 x 128"
    ):
        evaluate_output(lakesight.open(output), labels, "detections")


def test_a_column_that_is_not_there_is_refused(output: str, tmp_path: Path) -> None:
    labels = labels_of(tmp_path, NAMES, str(tmp_path / "photos"))
    with pytest.raises(UserError, match="has no column 'boxes', but id, uri"):
        evaluate_output(lakesight.open(output), labels, "boxes")
