"""Real outputs, committed on disk and in a bucket, opened as labelled pictures."""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakesight import masks
from lakesight.errors import UserError
from lakesight.files import LOCK
from lakesight.lake.source import Source
from lakesight.lake.store import Store
from lakesight.schemas import detection_type, output_schema, told_etag
from lakesight.training.downloads import local_files
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.flips import COCO_FLIP_INDICES
from lakesight.training.yolo.lake import open_output, side
from lakesight.training.yolo.lake_truth import LakeLabels
from tests.documented import documented
from tests.outputs import LABELS, SCHEMA, row, write_output, write_pictures

NAMES = [f"{number}.jpg" for number in range(6)]


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Return an output over six pictures and one that is none."""
    write_pictures(str(tmp_path / "lake"), [*NAMES, "broken.jpg"])
    write_output(str(tmp_path / "lake"), str(tmp_path / "out"))
    return str(tmp_path / "out")


def names(pictures: Pictures) -> list[str]:
    return sorted(each.path.name for each in pictures.pictures)


def by_name(pictures: Pictures) -> dict[str, Any]:
    return {each.path.name: each for each in pictures.pictures}


def test_committed_rows_are_labelled_pictures(
    output: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = open_output(output, "detect")
    assert names(pictures) == NAMES
    assert pictures.labels == tuple(sorted(LABELS)), "the classes that occur, by name"
    for each in pictures.pictures:
        assert each.path.parent == tmp_path / "lake", "a local picture is read where it lies"
        found = row(each.path.name)["detections"]
        assert each.boxes_xyxy.tolist() == [one["box"] for one in found]
        assert [pictures.labels[id_] for id_ in each.class_ids] == [one["label"] for one in found]
    assert pictures[0].image.shape == (64, 96, 3)
    assert caplog.messages == [f"{output}: left out: rows with errors (1)"]


def test_what_a_model_was_not_sure_of_is_left_out(
    output: str, caplog: pytest.LogCaptureFixture
) -> None:
    sure = open_output(output, "detect", choice=LakeLabels(min_score=0.7))
    assert [len(each.class_ids) for each in sure.pictures] == [1] * 6
    weak = sum(len(row(name)["detections"]) - 1 for name in NAMES)
    assert f"values that score less than 0.7 ({weak})" in caplog.text


def test_labels_decide_ids_and_what_counts(output: str, caplog: pytest.LogCaptureFixture) -> None:
    chosen = ("cow", "person")
    with pytest.raises(UserError, match="bus, dog, which are not among the 2"):
        open_output(output, "detect", choice=LakeLabels(labels=chosen))
    pictures = open_output(output, "detect", choice=LakeLabels(labels=chosen, unknown="drop"))
    assert pictures.labels == chosen
    assert {id_ for each in pictures.pictures for id_ in each.class_ids.tolist()} == {1}
    assert "values of other classes" in caplog.text


def test_keypoints_are_there_or_not(output: str, caplog: pytest.LogCaptureFixture) -> None:
    pictures = open_output(output, "pose")
    for each in pictures.pictures:
        assert each.keypoints is not None
        assert each.keypoints.shape == (1, 17, 3), "the second object has none"
        assert each.keypoints[0, 3].tolist() == [16, 14, 2]
    assert "values without keypoints" in caplog.text
    unsure = open_output(output, "pose", choice=LakeLabels(min_keypoint_score=0.95))
    assert unsure.pictures[0].keypoints is not None
    assert not unsure.pictures[0].keypoints[..., 2].any()


def test_a_keypoint_outside_of_its_picture_is_not_there(tmp_path: Path) -> None:
    one = row(NAMES[0])["detections"][0]
    points = [[500.0, 14.0, 0.9], *one["keypoints"][1:]]
    write_pictures(str(tmp_path / "lake"), NAMES[:1])
    found = {"detections": [one | {"keypoints": points}]}
    write_output(str(tmp_path / "lake"), str(tmp_path / "out"), change=found)
    keypoints = open_output(str(tmp_path / "out"), "pose").pictures[0].keypoints
    assert keypoints is not None
    assert keypoints[0, 0].tolist() == [500, 14, 0]
    assert keypoints[0, 3, 2] == 2


def test_a_person_in_a_mirror_needs_to_be_told_its_pairs(output: str) -> None:
    assert open_output(output, "pose").flip_indices is None
    told = open_output(output, "pose", choice=LakeLabels(flip_indices=COCO_FLIP_INDICES))
    assert told[0].flip_indices == COCO_FLIP_INDICES
    with pytest.raises(UserError, match="flip_indices must name for each of 17 keypoints"):
        open_output(output, "pose", choice=LakeLabels(flip_indices=(1, 0)))


def test_masks_and_rotated_boxes(tmp_path: Path) -> None:
    mask = np.zeros((64, 96), bool)
    mask[6:58, 8:60] = True
    whole = {"box": [8.0, 6.0, 60.0, 58.0], "score": 0.9, "class_id": 0, "label": "bus"}
    turned = [90.0, 32.0, 20.0, 40.0, 0.0]
    found = whole | {"mask": masks.encode(mask).as_coco(), "obb": turned}
    schema = output_schema([pa.field("detections", detection_type(masks=True, angles=True))])
    write_pictures(str(tmp_path / "lake"), NAMES[:2])
    source, output = str(tmp_path / "lake"), str(tmp_path / "out")
    write_output(source, output, schema=schema, change={"detections": [found]})
    sample = open_output(output, "segment")[0]
    np.testing.assert_array_equal(sample.instances, mask)
    rotated = open_output(output, "obb").pictures[0]
    assert rotated.boxes_xyxy.tolist() == [[80, 12, 96, 52]], "cut to the picture"
    assert rotated.quads is not None
    assert sorted(rotated.quads[0].tolist()) == [[80, 12], [80, 52], [100, 12], [100, 52]]
    with pytest.raises(UserError, match="have no keypoints, which --task pose needs"):
        open_output(output, "pose")


def test_classes_are_the_best_or_all(output: str, caplog: pytest.LogCaptureFixture) -> None:
    one = open_output(output, "classify")
    assert all(len(each.class_ids) == 1 for each in one.pictures)
    for each in one.pictures:
        expected = row(each.path.name)["classes"][0]["label"]
        assert one.labels[int(each.class_ids[0])] == expected
    sure = LakeLabels(labels=one.labels, min_score=0.8)
    none = open_output(output, "classify", choice=sure, multi_label=True)
    assert [len(each.class_ids) for each in none.pictures] == [0] * 6
    with pytest.raises(UserError, match=r"less than 0.8 \(6\), rows without a class \(6\)"):
        open_output(output, "classify", choice=sure)


def test_a_picture_stays_on_its_side(output: str, tmp_path: Path) -> None:
    half = LakeLabels(val_fraction=0.5)
    train = names(open_output(output, "detect", "train", half))
    val = names(open_output(output, "detect", "val", half))
    assert sorted(train + val) == NAMES
    assert train
    assert val
    write_pictures(str(tmp_path / "lake"), ["6.jpg", "7.jpg"])
    (tmp_path / "lake" / val[0]).write_bytes((tmp_path / "lake" / train[0]).read_bytes() + b" ")
    write_output(str(tmp_path / "lake"), output)
    assert set(val) <= set(names(open_output(output, "detect", "val", half)))
    assert set(train) <= set(names(open_output(output, "detect", "train", half)))


def test_both_sides_have_their_share() -> None:
    uris = [f"s3://bucket/{number}.jpg" for number in range(4000)]
    fifth = {uri for uri in uris if side(uri, 0.2) == "val"}
    assert 700 < len(fifth) < 900
    assert fifth < {uri for uri in uris if side(uri, 0.3) == "val"}
    assert not any(side(uri, 0.0) == "val" for uri in uris)
    assert all(side(uri, 1.0) == "val" for uri in uris)


def test_an_analyst_corrects_with_polars(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(documented("polars"), {"output": output})
    choice = LakeLabels(corrections="corrections.parquet", min_score=0.95)
    pictures = open_output(output, "detect", choice=choice)
    assert names(pictures) == NAMES[:4], "4 and 5 are rejected"
    for name, each in by_name(pictures).items():
        expected = row(name)["detections"]
        assert each.boxes_xyxy.tolist() == [one["box"] for one in expected]
        found = [pictures.labels[id_] for id_ in each.class_ids]
        assert found == [one["label"].replace("person", "cyclist") for one in expected]
    assert "person" not in pictures.labels


def test_an_analyst_corrects_with_duckdb(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = tmp_path / "lake" / "3.jpg"
    lines = ["uri,label,x_min,y_min,x_max,y_max", f"{uri},tram,1.5,2,30,40", f"{uri},bus,0,0,9,9"]
    (tmp_path / "by_hand.csv").write_text("\n".join(lines))
    duckdb.execute(documented("by_hand.csv"))
    choice = LakeLabels(corrections="corrections.parquet", min_score=0.95)
    pictures = open_output(output, "detect", choice=choice)
    three = by_name(pictures)["3.jpg"]
    assert sorted(three.boxes_xyxy.tolist()) == [[0, 0, 9, 9], [1.5, 2, 30, 40]]
    assert sorted(pictures.labels[id_] for id_ in three.class_ids) == ["bus", "tram"]
    assert names(pictures) == NAMES
    assert all(
        not len(each.class_ids) for name, each in by_name(pictures).items() if name != "3.jpg"
    )


def corrections(folder: Path, rows: list[Mapping[str, Any]]) -> LakeLabels:
    path = folder / "corrections.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return LakeLabels(corrections=str(path))


BOX = {"label": "bus", "box": [1.0, 2.0, 30.0, 40.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uri": "/nowhere/x.jpg"}, "corrects 1 pictures that are not among the latest rows"),
        ({"detections": "a bus"}, "'detections' must be of type list"),
        ({"detections": [{"label": "bus"}]}, "an object of file:.*0.jpg has no box"),
        ({"detections": [BOX | {"label": None}]}, "has no label"),
        ({"detections": [BOX | {"box": [1.0, 2.0, 30.0]}]}, "must be of type"),
        ({"detections": [BOX | {"box": [1.0, 2.0, 300.0, 40.0]}]}, "0.jpg: box 1 is .*outside"),
        ({"detections": [BOX | {"box": [1.0, math.nan, 30.0, 40.0]}]}, "boxes_xyxy must be finite"),
        ({"detections": None}, "corrects .* twice"),
        ({"detections": "renamed"}, "needs a column id or uri"),
    ],
)
def test_a_wrong_correction_is_said_with_its_place(
    output: str, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    right = {"uri": str(tmp_path / "lake" / "0.jpg"), "detections": [BOX]}
    rows: list[Mapping[str, Any]] = [right | change]
    if "twice" in message:
        rows.append(right)
    if "column" in message:
        rows = [{"path": right["uri"], "detections": [BOX]}]
    with pytest.raises(UserError, match=message):
        open_output(output, "detect", choice=corrections(tmp_path, rows))


def test_corrections_that_are_not_there(output: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file of corrections at"):
        open_output(output, "detect", choice=LakeLabels(corrections=str(tmp_path / "none.parquet")))
    (tmp_path / "text.parquet").write_text("id,detections")
    with pytest.raises(UserError, match="neither Parquet nor an Arrow file"):
        open_output(output, "detect", choice=LakeLabels(corrections=str(tmp_path / "text.parquet")))


def test_a_corrected_class_is_one(output: str, tmp_path: Path) -> None:
    uri = str(tmp_path / "lake" / "0.jpg")
    right = corrections(tmp_path, [{"uri": uri, "classes": [{"label": "tram"}]}])
    pictures = open_output(output, "classify", choice=right)
    (class_id,) = by_name(pictures)["0.jpg"].class_ids
    assert pictures.labels[class_id] == "tram"
    two = corrections(tmp_path, [{"uri": uri, "classes": [{"label": "tram"}, {"label": "bus"}]}])
    with pytest.raises(UserError, match="2 classes: give one"):
        open_output(output, "classify", choice=two)
    both = by_name(open_output(output, "classify", choice=two, multi_label=True))["0.jpg"]
    assert len(both.class_ids) == 2


def test_frames_of_videos_are_refused(tmp_path: Path) -> None:
    write_pictures(str(tmp_path / "lake"), NAMES[:1])
    write_output(str(tmp_path / "lake"), str(tmp_path / "out"), change={"frame_index": 3})
    with pytest.raises(UserError, match="frames of videos"):
        open_output(str(tmp_path / "out"), "detect")


def test_a_column_that_is_not_there(output: str) -> None:
    with pytest.raises(UserError, match="no column 'boxes' to train on; it has detections, "):
        open_output(output, "detect", choice=LakeLabels(column="boxes"))
    with pytest.raises(UserError, match="have no box, which --task detect needs"):
        open_output(output, "detect", choice=LakeLabels(column="classes"))
    with pytest.raises(UserError, match="have no label"):
        open_output(output, "classify", choice=LakeLabels(column="caption"))


def test_a_local_picture_must_be_the_one_that_was_annotated(output: str, tmp_path: Path) -> None:
    changed, gone = tmp_path / "lake" / "1.jpg", tmp_path / "lake" / "2.jpg"
    changed.write_bytes(changed.read_bytes() + b" ")
    gone.unlink()
    with pytest.raises(UserError, match=r"2 of 6 pictures cannot be trained on") as caught:
        open_output(output, "detect")
    assert "1.jpg was changed since it was annotated" in str(caught.value)
    assert "2.jpg does not exist any more" in str(caught.value)


def test_a_bucket_is_fetched_once(new_bucket: Callable[[], str], tmp_path: Path) -> None:
    bucket = f"s3://{new_bucket()}"
    write_pictures(f"{bucket}/lake", [*NAMES, "broken.jpg"])
    write_output(f"{bucket}/lake", f"{bucket}/out", schema=SCHEMA)
    cache = tmp_path / "cache"
    pictures = open_output(f"{bucket}/out", "detect", cache=cache)
    assert len(pictures) == 6
    assert pictures[3].image.shape == (64, 96, 3)
    assert files_of(cache) == sorted(each.path for each in pictures.pictures)

    store, prefix = Store.open(f"{bucket}/lake")
    store.put(f"{prefix}/1.jpg", b"another picture")
    store.delete(f"{prefix}/2.jpg")
    again = open_output(f"{bucket}/out", "detect", cache=cache)
    assert [each.path for each in again.pictures] == [each.path for each in pictures.pictures]
    with pytest.raises(UserError, match="2 of 6 pictures cannot be trained on") as caught:
        open_output(f"{bucket}/out", "detect", cache=tmp_path / "empty")
    assert f"{bucket}/lake/1.jpg was overwritten" in str(caught.value)
    assert f"{bucket}/lake/2.jpg does not exist any more" in str(caught.value)


def files_of(cache: Path) -> list[Path]:
    """Return the files of a cache, but its lock."""
    return sorted(each for each in cache.rglob("*") if each.is_file() and each.name != LOCK)


def test_workers_of_one_machine_fetch_once(
    new_bucket: Callable[[], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lakesight.training.downloads")
    bucket = f"s3://{new_bucket()}"
    write_pictures(f"{bucket}/lake", NAMES)
    write_output(f"{bucket}/lake", f"{bucket}/out", schema=SCHEMA)
    left = tmp_path / "ab" / ".abcdef.0123.part"
    left.parent.mkdir()
    left.write_bytes(b"half of a pict")
    with ThreadPoolExecutor(3) as workers:
        opened = [
            workers.submit(open_output, f"{bucket}/out", "detect", cache=tmp_path) for _ in range(3)
        ]
        pictures = [one.result() for one in opened]
    assert [each.path for each in pictures[0].pictures] == [p.path for p in pictures[1].pictures]
    assert files_of(tmp_path) == sorted(each.path for each in pictures[2].pictures)
    assert caplog.messages == ["fetching 6 pictures"]


def test_a_picture_that_was_told_something_is_still_itself(tmp_path: Path) -> None:
    write_pictures(str(tmp_path), NAMES)
    listed = [row for page in Source(uri=str(tmp_path)).list() for row in page.to_pylist()]
    rows = [
        {"id": row["uri"], "uri": row["uri"], "etag": told_etag(row["etag"], {"prompt": "a photo"})}
        for row in listed
    ]
    assert {path.name for path in local_files(rows, tmp_path / "cache")} == {*NAMES}
    rows[0]["etag"] = told_etag("0-1", {"prompt": "a photo"})
    with pytest.raises(UserError, match="was changed since it was annotated"):
        local_files(rows, tmp_path / "cache")
