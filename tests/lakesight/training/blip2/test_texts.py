"""Captions and questions, from whatever they were written in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.scenes import generate
from lakesight.scenes.plan import Plan
from lakesight.training.blip2.texts import FORMS, Question, Region, TextsAsked, Told, open_texts
from lakesight.training.forms import Form
from workflows.scenes import Scenes

NUM = 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    Scenes(output=str(folder), num_images=0, num_val=NUM, seed=3, size="64", processes=1).run()
    return folder


def test_scenes_say_what_their_generator_says(scenes: Path) -> None:
    plan = Plan.model_validate(json.loads((scenes / "scenes.json").read_text())["settings"])
    drawn = [generate(plan.split_seed("val"), number, plan.size) for number in range(NUM)]
    captioned = open_texts(str(scenes), "val", "captions")
    assert [one.captions for one in captioned] == [scene.captions for scene in drawn]
    whole = open_texts(str(scenes), "val", "captions", column="description")
    assert [one.captions for one in whole] == [(scene.description,) for scene in drawn]
    both = open_texts(str(scenes), "val", "captions", column="both")
    assert [one.captions for one in both] == [(*each.captions, each.description) for each in drawn]
    asked = open_texts(str(scenes), "val", "questions")
    assert [one.questions for one in asked] == [
        tuple(Question(each.question, (each.answer,), each.kind) for each in scene.questions)
        for scene in drawn
    ]
    assert [one.path for one in asked] == [one.path for one in captioned]


def test_objects_of_scenes_are_regions(scenes: Path) -> None:
    plan = Plan.model_validate(json.loads((scenes / "scenes.json").read_text())["settings"])
    captioned = open_texts(str(scenes), "val", "captions", regions=True)
    asked = open_texts(str(scenes), "val", "questions", regions=True)
    assert [one.regions for one in asked] == [one.regions for one in captioned]
    for number, one in enumerate(captioned):
        drawn = generate(plan.split_seed("val"), number, plan.size)
        regions = one.regions or ()
        assert [region.phrase for region in regions] == [
            f"{each.texture} {each.colour} {each.label}" for each in drawn.objects
        ]
        boxes = np.array([each.box_xyxy for each in drawn.objects])
        assert np.array([region.box_xyxy for region in regions]) == pytest.approx(boxes)


def test_regions_of_a_list_are_those_of_visual_genome(tmp_path: Path, picture: Path) -> None:
    region = {"phrase": "a red cup", "x": 1, "y": 2, "width": 30, "height": 4}
    entry = {"image": picture.name, "caption": "a table", "regions": [region]}
    data = written(tmp_path, [entry, {"image": picture.name, "caption": "a room"}])
    (found,) = open_texts(data, "train", "captions", regions=True)
    assert found.regions == (Region((1, 2, 31, 6), "a red cup"),)
    assert open_texts(data, "train", "captions")[0].regions is None
    asked = {"image": picture.name, "question": "where?", "answer": "here", "regions": [region]}
    (found,) = open_texts(written(tmp_path, [asked]), "train", "questions", regions=True)
    assert found.regions == (Region((1, 2, 31, 6), "a red cup"),)


def test_a_region_needs_its_place(tmp_path: Path, picture: Path) -> None:
    entry = {"image": picture.name, "caption": "a table", "regions": [{"phrase": "a cup"}]}
    with pytest.raises(UserError, match=r"is no file of captions: .*x"):
        open_texts(written(tmp_path, [entry]), "train", "captions", regions=True)


def test_no_regions_are_not_the_same_as_none_said(tmp_path: Path, picture: Path) -> None:
    for said, expected in (({"regions": []}, ()), ({}, None)):
        entry = {"image": picture.name, "caption": "a table", **said}
        (found,) = open_texts(written(tmp_path, [entry]), "train", "captions", regions=True)
        assert found.regions == expected


def test_cocos_captions_are_those_of_the_table(scenes: Path) -> None:
    file = str(scenes / "annotations" / "captions_val.json")
    found = open_texts(file, "val", "captions", images=str(scenes / "images" / "val"))
    assert found == open_texts(str(scenes), "val", "captions")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    return path


def written(folder: Path, content: Any) -> str:
    path = folder / "texts.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_a_list_joins_what_is_said_of_a_picture(tmp_path: Path, picture: Path) -> None:
    data = written(
        tmp_path,
        [{"image": "a.jpg", "caption": "a dog"}, {"image": "a.jpg", "caption": ["two", "three"]}],
    )
    (told,) = open_texts(data, "train", "captions")
    assert (told.path, told.captions) == (picture, ("a dog", "two", "three"))
    people = [{"answer": "yes"}, {"answer": "no"}]
    data = written(
        tmp_path,
        [
            {"image": "a.jpg", "question": "a dog?", "answer": people},
            {"image": "a.jpg", "question": "how many?", "answer": ["1"], "kind": "count"},
            {"image": "a.jpg", "question": "where?", "answer": "here"},
        ],
    )
    (told,) = open_texts(data, "train", "questions")
    assert told.questions == (
        Question("a dog?", ("yes", "no")),
        Question("how many?", ("1",), "count"),
        Question("where?", ("here",)),
    )


IMAGE = {"id": 1, "file_name": "a.jpg"}
CAPTIONED = {"image": "a.jpg", "caption": "a dog"}


@pytest.mark.parametrize(
    ("content", "wanted", "message"),
    [
        ([{"image": "b.jpg", "caption": "x"}], "captions", "1 of 1 pictures .* are missing, such"),
        ([{"image": "a.jpg", "caption": " "}], "captions", "one of the texts of a.jpg is empty"),
        ([{"image": "a.jpg", "caption": []}], "captions", "a.jpg has no captions"),
        ([{"image": "a.jpg"}], "captions", "no file of captions: 0.caption: Field required"),
        ([{"image": "a.jpg", "caption": {"text": "a dog"}}], "captions", "0.caption.str: Input sh"),
        ([{"image": "a.jpg", "caption": [1]}], "captions", "0.caption.str: Input should be a val"),
        ([CAPTIONED, {"image": 1, "caption": "x"}], "captions", "1.image: Input should be a valid"),
        ([CAPTIONED, 3], "captions", "1: Input should be a valid dictionary"),
        ([{"image": "a.jpg", "question": "x?"}], "questions", "0.answer: Field required"),
        ([{"image": "a.jpg", "question": "x?", "answer": []}], "questions", "has no answer"),
        ([], "captions", "has no pictures"),
        ({"images": [IMAGE], "annotations": []}, "captions", "a.jpg has no captions"),
        (
            {"images": [IMAGE], "annotations": [{"image_id": 2, "caption": "x"}]},
            "captions",
            "of the picture 2, which it lacks",
        ),
        ({"images": [{"id": 1}], "annotations": []}, "captions", "images.0.file_name: Field req"),
        (
            {
                "images": [IMAGE, IMAGE | {"file_name": "b.jpg"}],
                "annotations": [{"image_id": 1, "caption": "x"}],
            },
            "captions",
            "2 images have the id 1, and nobody knows of which its captions are",
        ),
        (
            {"images": [IMAGE, IMAGE | {"id": 2}], "annotations": []},
            "captions",
            "has a.jpg 2 times: say all of a picture at once",
        ),
        (
            {"images": [IMAGE], "annotations": []},
            "questions",
            r"has no questions of pictures \(it is COCO captions as .json\): give a folder of",
        ),
    ],
)
def test_what_is_wrong_is_said(
    content: Any, wanted: Any, message: str, tmp_path: Path, picture: Path
) -> None:
    assert picture.is_file()
    with pytest.raises(UserError, match=message):
        open_texts(written(tmp_path, content), "train", wanted)


def test_kinds_of_pictures_are_told(tmp_path: Path, scenes: Path, picture: Path) -> None:
    content = {
        "images": [IMAGE | {"width": 4, "height": 4, "license": 3, "camera": "left"}],
        "annotations": [{"image_id": 1, "caption": "x"}],
    }
    (told,) = open_texts(written(tmp_path, content), "train", "captions")
    assert (told.path, told.kinds) == (picture, {"camera": "left"})
    assert all(set(one.kinds) <= {"label"} for one in open_texts(str(scenes), "val", "questions"))
    assert any(one.kinds for one in open_texts(str(scenes), "val", "questions"))


def test_pictures_may_be_elsewhere_where_nobody_looks(tmp_path: Path) -> None:
    data = written(tmp_path, [{"image": "part/b.jpg", "caption": "x"}])
    (told,) = open_texts(data, "val", "captions", local=False)
    assert (told.path, told.uri) == (tmp_path / "part" / "b.jpg", None)
    (told,) = open_texts(data, "val", "captions", images="s3://bucket/photos/", local=False)
    assert (told.path, told.uri) == (Path("part/b.jpg"), "s3://bucket/photos/part/b.jpg")
    with pytest.raises(UserError, match="name a folder; or annotate the pictures where they are"):
        open_texts(data, "val", "captions", images="s3://bucket/photos")


def test_what_is_no_data_is_refused(tmp_path: Path, scenes: Path) -> None:
    with pytest.raises(UserError, match="has no captions of pictures"):
        open_texts(str(tmp_path), "train", "captions")
    with pytest.raises(UserError, match="has no split train"):
        open_texts(str(scenes), "train", "captions")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        open_texts(str(tmp_path / "broken.json"), "train", "captions")


def test_a_form_is_one_entry(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "captions.tsv"
    table.write_text(f"{picture.name}\ta red bus\n")

    def opened(asked: TextsAsked) -> list[Told]:
        lines = [line.split("\t") for line in asked.path.read_text().splitlines()]
        return [Told(asked.path.parent / name, captions=(text,)) for name, text in lines]

    form = Form("a .tsv", frozenset({"captions"}), lambda one: one.path.suffix == ".tsv", opened)
    monkeypatch.setitem(FORMS, "tsv", form)
    assert open_texts(str(table), "val", "captions") == [Told(picture, captions=("a red bus",))]
    with pytest.raises(
        UserError, match=r"no questions of pictures \(it is a .tsv\): give a folder"
    ):
        open_texts(str(table), "val", "questions")
