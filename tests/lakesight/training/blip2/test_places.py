"""Captions and questions that are trained together, from where either lies."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lakesight.errors import UserError
from lakesight.training.blip2.training import SecondStageTraining
from tests.lakesight.training.blip2.second import new


def test_each_part_may_have_data_of_its_own(scenes: Path, first: Path, tmp_path: Path) -> None:
    """COCO's captions with questions in LAVIS' form; the pictures of each lie elsewhere."""
    part: dict[str, Any] = {}
    for split in ("train", "val"):
        folder = tmp_path / split
        shutil.copytree(scenes / "images" / split, folder)
        entries = [
            {"image": one.name, "question": f"what is in {one.stem}?", "answer": "a shape"}
            for one in sorted(folder.iterdir())[:3]
        ]
        (folder / "vqa.json").write_text(json.dumps(entries))
        part["data" if split == "train" else "val"] = str(folder / "vqa.json")
    annotations = scenes / "annotations"
    given: dict[str, Any] = {
        "data": str(annotations / "captions_train.json"),
        "images": str(scenes / "images" / "train"),
        "val": str(annotations / "captions_val.json"),
        "val_images": str(scenes / "images" / "val"),
        "epochs": 1,
    }
    own = part | {"images": str(tmp_path / "train"), "val_images": str(tmp_path / "val")}
    training = SecondStageTraining(new(scenes, first, **given, questions=own))
    halves = (training.train, training.val)
    assert [len(each[name]) for each in halves for name in each] == [8, 3, 4, 3]
    assert training.train["captions"][0].told.path.parent == scenes / "images" / "train"
    assert training.train["questions"][0].told.path.parent == tmp_path / "train"
    assert training.val["questions"][0].told.path.parent == tmp_path / "val"
    training.fit(tmp_path / "out")
    card, result = training.finish(tmp_path / "out")
    assert set(result.results) == {"captions", "answers"}
    both = f"8 pictures of {given['data']} and 3 pictures of {part['data']}"
    assert both in card.provenance
    assert f"the pictures of {given['val']} and {part['val']} that" in card.provenance
    with pytest.raises(UserError, match=r"vqa.json has no parts: .* with --questions.val"):
        SecondStageTraining(new(scenes, first, **given, questions=own | {"val": None}))
    with pytest.raises(UserError, match=r"has no questions of pictures \(it is COCO captions"):
        SecondStageTraining(new(scenes, first, **given))


def test_a_part_of_scenes_is_validated_on_them(scenes: Path, first: Path) -> None:
    given: dict[str, Any] = {
        "data": str(scenes / "annotations" / "captions_train.json"),
        "images": str(scenes / "images" / "train"),
        "val": str(scenes / "annotations" / "captions_val.json"),
        "val_images": str(scenes / "images" / "val"),
        "questions": {"data": str(scenes)},
    }
    training = SecondStageTraining(new(scenes, first, **given))
    whole = SecondStageTraining(new(scenes, first))
    for own, all_of_it in ((training.train, whole.train), (training.val, whole.val)):
        found, expected = (
            [(one.told.path, one.questions) for one in texts["questions"]]
            for texts in (own, all_of_it)
        )
        assert found == expected
        assert all(one.captions for one in own["questions"])  # at one look, wherever they lie
