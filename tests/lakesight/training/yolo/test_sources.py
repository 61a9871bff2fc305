"""What is named is opened by its form, and what is no data is said."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lakesight.errors import UserError
from lakesight.training.forms import Form
from lakesight.training.yolo.datasets import Labelled, Pictures
from lakesight.training.yolo.job import TrainJob, open_job_data
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import FORMS, Asked, open_data
from tests.outputs import write_output, write_pictures
from workflows.__main__ import main


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "scenes"
    words = ["--num-images", "3", "--num-val", "2", "--size", "96", "--processes", "1"]
    assert main(["scenes", str(folder), *words]) == 0
    return folder


def test_scenes_know_every_task(scenes: Path) -> None:
    table = pq.read_table(scenes / "tables" / "train.parquet").to_pylist()
    boxes = open_data(str(scenes), "train", "detect")
    assert [len(one.class_ids) for one in boxes.pictures] == [len(row["objects"]) for row in table]
    areas = boxes.pictures[0].areas
    assert areas is not None
    assert areas.tolist() == [found["area"] for found in table[0]["objects"]]
    assert boxes.pictures[0].kinds == {"label": table[0]["label"]}
    assert len(open_data(str(scenes), "val", "segment").pictures[0].shapes) > 0
    assert open_data(str(scenes), "val", "pose").pictures[0].keypoints is not None
    assert open_data(str(scenes), "val", "obb").pictures[0].quads is not None


@pytest.mark.parametrize("change", ["degrees", "shear"])
def test_scenes_are_not_turned_with_their_keypoints(scenes: Path, change: str) -> None:
    """Of a square the topmost corner is the first: in a turned picture it is another one."""
    given = {"data": str(scenes), "augmentation": {change: 10}}
    with pytest.raises(
        UserError, match=rf"augmentation\.{change} would make another one the first"
    ):
        open_job_data(TrainJob.model_validate(given | {"task": "pose"}))
    assert len(open_job_data(TrainJob.model_validate(given | {"task": "obb"})).train) == 3


def test_scenes_have_one_class_or_several(scenes: Path) -> None:
    table = pq.read_table(scenes / "tables" / "train.parquet").to_pylist()
    one = open_data(str(scenes), "train", "classify")
    names = [[one.labels[id_] for id_ in each.class_ids] for each in one.pictures]
    assert names == [[row["label"]] for row in table]
    several = open_data(str(scenes), "train", "classify", multi_label=True)
    names = [[one.labels[id_] for id_ in each.class_ids] for each in several.pictures]
    assert names == [row["labels"] for row in table]
    assert (one.multi_label, several.multi_label) == (False, True)
    assert one[0].image.shape == (96, 96, 3)


def test_coco_and_yolo_text_are_told_by_their_endings(scenes: Path, tmp_path: Path) -> None:
    annotations, images = scenes / "annotations" / "instances_val.json", scenes / "images" / "val"
    assert len(open_data(str(annotations), "val", "detect", images=str(images))) == 2
    (tmp_path / "data.yaml").write_text(json.dumps({"val": str(images), "names": ["a", "b"]}))
    dataset = open_data(str(tmp_path / "data.yaml"), "val", "detect")
    assert (dataset.labels, len(dataset)) == (("a", "b"), 2)


def test_folders_are_classes_of_a_split(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "val" / label).mkdir(parents=True)
        pixels = np.zeros((8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / label / "1.png")
    assert open_data(str(tmp_path), "val", "classify").labels == ("cat", "dog")
    assert open_data(str(tmp_path), "val", "classify", multi_label=True).multi_label
    with pytest.raises(UserError, match="no pictures labelled for the task classify, split train"):
        open_data(str(tmp_path), "train", "classify")
    with pytest.raises(UserError, match="no pictures labelled for the task detect"):
        open_data(str(tmp_path), "val", "detect")


def test_an_output_has_two_parts(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(20)]
    write_pictures(str(tmp_path / "photos"), names)
    write_output(str(tmp_path / "photos"), str(tmp_path / "seen"))
    output = str(tmp_path / "seen")
    half = LakeLabels(val_fraction=0.5)  # none of 20 on one side: once in 500,000 folders
    parts = [open_data(output, split, "detect", labels=half) for split in ("train", "val")]
    train, val = ({one.path.name for one in part.pictures} for part in parts)
    assert train | val == set(names)
    assert not train & val
    whole = open_data(output, "val", "detect", labels=LakeLabels(val_fraction=1))
    assert len(whole) == 20
    with pytest.raises(UserError, match="has the parts train and val"):
        open_data(output, "test", "detect")


def test_a_training_says_which_values_of_an_output_are_true(tmp_path: Path) -> None:
    write_pictures(str(tmp_path / "photos"), [f"{number}.jpg" for number in range(20)])
    write_output(str(tmp_path / "photos"), str(tmp_path / "seen"))
    plain = {"data": str(tmp_path / "seen"), "task": "detect", "labels": {"val_fraction": 0.3}}
    data = open_job_data(TrainJob.model_validate(plain))
    chosen = plain | {"labels": {"val_fraction": 0.7, "min_score": 0.7}}
    more = open_job_data(TrainJob.model_validate(chosen))
    assert len(more.train) < len(data.train)
    assert len(more.train) + len(more.val) == len(data.train) + len(data.val) == 20
    assert max(len(one.class_ids) for one in data.train.pictures) > 1
    assert {len(one.class_ids) for one in more.train.pictures} == {1}


def test_a_class_of_which_there_is_nothing_is_said_in_every_form(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Folders refuse it: there, a class is there because somebody made a folder for it."""
    content = json.loads((scenes / "annotations" / "instances_val.json").read_text())
    content["categories"].append({"id": 99, "name": "unicorn"})
    (tmp_path / "labels.json").write_text(json.dumps(content))
    Image.new("RGB", (9, 8)).save(tmp_path / "1.png")
    (tmp_path / "1.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "data.yaml").write_text(json.dumps({"val": ".", "names": ["cat", "unicorn"]}))
    write_pictures(str(tmp_path / "photos"), ["1.jpg"])
    write_output(str(tmp_path / "photos"), str(tmp_path / "seen"))
    chosen = LakeLabels(labels=("bus", "person", "dog", "unicorn"), val_fraction=1)
    images = str(scenes / "images" / "val")
    for name, given in (
        ("labels.json", {"images": images}),
        ("data.yaml", {}),
        ("seen", {"labels": chosen}),
    ):
        caplog.clear()
        opened = open_data(str(tmp_path / name), "val", "detect", **given)
        assert "unicorn" in opened.empty_classes()
        told = f"{tmp_path / name}, split val: there is nothing of {len(opened.empty_classes())} of"
        assert told in caplog.text


def test_boxes_are_no_classes(scenes: Path, tmp_path: Path) -> None:
    coco, yaml = scenes / "annotations" / "instances_val.json", tmp_path / "data.yaml"
    for place, form in ((coco, r"a COCO .json \(with --images\)"), (yaml, "a data.yaml of YOLO")):
        with pytest.raises(UserError, match=rf"classify, split val \(it is {form}") as raised:
            open_data(str(place), "val", "classify")
        assert str(raised.value).endswith(
            ": give a folder of `lakesight scenes`, a folder with train/CLASS/ and val/CLASS/, or "
            "an output of `lakesight annotate`"
        )


def test_what_is_no_data_is_said(scenes: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere", scenes / "images" / "val" / "000000.jpg"):
        with pytest.raises(UserError, match="has no pictures labelled for the task detect"):
            open_data(str(place), "val", "detect")
    with pytest.raises(UserError) as raised:
        open_data(str(tmp_path), "val", "detect")
    for name, form in FORMS.items():
        assert (form.what in str(raised.value)) == ("detect" in form.holds), name
    with pytest.raises(UserError, match="draw a test set with another seed"):
        open_data(str(scenes), "test", "detect")


def test_a_form_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a picture: its file, and its class."""
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "a.png")
    table = tmp_path / "val.tsv"
    table.write_text("a.png\t1\n")

    def opened(asked: Asked) -> Pictures:
        lines = [line.split("\t") for line in asked.path.read_text().splitlines()]
        nowhere = np.zeros((0, 4), np.float32)
        pictures = [
            Labelled(asked.path.parent / name, (9, 8), nowhere, np.array([int(class_id)]))
            for name, class_id in lines
        ]
        return Pictures(("cat", "dog"), pictures, asked.task)

    form = Form("a .tsv", frozenset({"classify"}), lambda one: one.path.suffix == ".tsv", opened)
    monkeypatch.setitem(FORMS, "tsv", form)
    found = open_data(str(table), "val", "classify")
    assert (found[0].image.shape, found.pictures[0].class_ids.tolist()) == ((8, 9, 3), [1])
    with pytest.raises(
        UserError, match=r"task detect, split val \(it is a .tsv\): give a data.yaml"
    ):
        open_data(str(table), "val", "detect")
    with pytest.raises(UserError, match=r"or a .tsv$"):
        open_data(str(tmp_path / "nowhere"), "val", "classify")
