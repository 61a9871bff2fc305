"""What a training is bound to, and what its model is called."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from lakesight.errors import UserError
from lakesight.metrics import MultiLabelResult
from lakesight.models.yolo.folder import Contract
from lakesight.training.binding import bind, held, model_name
from lakesight.training.loop import BEST, SETTINGS, STATE
from lakesight.training.sampling import Key
from lakesight.training.yolo.batches import Augmented
from lakesight.training.yolo.data import Data
from lakesight.training.yolo.datasets import Labelled, Pictures
from lakesight.training.yolo.finishing import finish
from lakesight.training.yolo.job import TrainJob, fit, followers, open_job_data
from lakesight.training.yolo.job import start as begin
from lakesight.training.yolo.training import YoloTraining
from workflows.__main__ import main

SIDE = 64
Pixels = npt.NDArray[np.uint8]


def test_settings_that_are_older_than_a_flag_have_its_default(tmp_path: Path) -> None:
    bind(TrainJob(data="d"), tmp_path)
    path = tmp_path / STATE / SETTINGS
    written = yaml.safe_load(path.read_text())
    del written["patience"], written["augmentation"]["mixup"]
    path.write_text(yaml.safe_dump(written))
    assert not bind(TrainJob(data="d"), tmp_path)
    with pytest.raises(UserError, match="patience: 100, now 5"):
        bind(TrainJob(data="d", patience=5), tmp_path)


def test_settings_that_are_newer_are_refused(tmp_path: Path) -> None:
    bind(TrainJob(data="d"), tmp_path)
    path = tmp_path / STATE / SETTINGS
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"telepathy": True}))
    with pytest.raises(UserError, match="another version"):
        bind(TrainJob(data="d"), tmp_path)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("out/Tuned_2", "tuned_2"),
        ("s3://lake/models/cars/", "cars"),
        ("Größe 3", "gr-e-3"),
        ("--", "trained"),
    ],
)
def test_a_model_is_called_after_its_place(place: str, name: str) -> None:
    assert model_name(place) == name


class Green:
    """Two pictures of a green box each, of one class, in files of their own."""

    def __init__(self, folder: Path) -> None:
        pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
        pixels[16:48, 8:40] = (0, 250, 0)
        pictures = []
        for number in range(2):
            path = folder / f"{number}.png"
            Image.fromarray(pixels + number).save(path)
            box = np.array([[8, 16, 40, 48]], np.float32)
            pictures.append(Labelled(path, (SIDE, SIDE), box, np.array([0])))
        one = Pictures(("green",), pictures, "detect")
        self.data = Data(one, one)
        self.job = TrainJob(data="d", epochs=1, image_size=SIDE, width=0.125, warmup_epochs=0)


@pytest.fixture
def green(tmp_path: Path) -> Green:
    return Green(tmp_path)


def test_a_start_is_the_seeds_and_leaves_random_numbers_to_the_caller(green: Green) -> None:
    before = torch.get_rng_state()
    first, again = (begin(green.job, green.data.train).network.state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    other = begin(green.job.model_copy(update={"seed": 1}), green.data.train).network.state_dict()
    assert not torch.equal(other["model.0.conv.weight"], first["model.0.conv.weight"])


def test_weights_that_explode_in_the_last_update_are_one_sentence(
    green: Green, tmp_path: Path
) -> None:
    """Both pictures are one update, so that no loss is there to see it."""
    job = green.job.model_copy(update={"learning_rate": 1e30, "max_gradient": 1e30})
    with pytest.raises(UserError, match=r"not finite.*lower the learning rate"):
        fit(job, green.data, tmp_path / "m")


def test_the_best_weights_are_what_is_written_whatever_cannot_be_drawn(
    green: Green, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m"
    state = folder / STATE
    for name in ("labels.png", "curves.png", "samples.png", "box_confusion.png"):
        (state / name / "in the way").mkdir(parents=True)  # a folder is not replaced by a file
    job = green.job.model_copy(update={"half": False})
    assert not bind(job, folder)
    fit(job, green.data, folder, followers(job, green.data))
    card, _ = finish(job, green.data, folder)
    assert caplog.text.count("cannot draw") == 4
    best = torch.load(state / BEST, weights_only=True)["network"]
    written = load_file(folder / "model.safetensors")
    assert written.keys() - best.keys() == {"model.22.dfl.conv.weight"}  # which never learns
    assert all(torch.equal(written[name], best[name]) for name in best)
    assert (card.name, bind(job, folder)) == ("m", True)
    assert not list(folder.rglob("*.part"))


def test_several_classes_a_picture_are_trained_and_judged_to_the_end(tmp_path: Path) -> None:
    """One picture is of both classes, one of the second, one of none."""
    pictures = []
    for number, (colour, class_ids) in enumerate(
        (((0, 250, 250), [0, 1]), ((0, 0, 250), [1]), ((40, 40, 40), []))
    ):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (SIDE, SIDE), colour).save(path)
        nowhere = np.zeros((0, 4), np.float32)
        pictures.append(Labelled(path, (SIDE, SIDE), nowhere, np.array(class_ids, np.int64)))
    one = Pictures(("green", "blue"), pictures, "classify", multi_label=True)
    given = {"data": "d", "epochs": 1, "image_size": SIDE, "width": 0.125, "warmup_epochs": 0}
    job = TrainJob.model_validate(given | {"task": "classify", "multi_label": True})
    done = fit(job, Data(one, one), tmp_path / "m", followers(job, Data(one, one)))
    assert done.history[0].keys() >= {"loss/classes", "classes/map", "fitness"}
    card, result = finish(job, Data(one, one), tmp_path / "m")
    assert card.contract["multi_label"]
    assert isinstance(result.results["classes"], MultiLabelResult)
    assert card.metrics["classes/map"] == round(result.results["classes"].map, 4) > 0


def test_a_trained_pose_model_knows_what_its_keypoints_are_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coco(tmp_path / "data", [{"keypoints": [10, 10, 2, 20, 20, 2]}])
    content = json.loads(Path(data).read_text())
    content["categories"][0]["keypoints"] = ["thumb", "wrist"]
    Path(data).write_text(json.dumps(content))
    given = {"data": data, "val": data, "epochs": 1, "image_size": SIDE, "width": 0.125}
    job = TrainJob.model_validate(given | {"task": "pose", "warmup_epochs": 0})
    opened = open_job_data(job)
    fit(job, opened, tmp_path / "m")
    card, _ = finish(job, opened, tmp_path / "m")
    assert Contract.model_validate(card.contract).keypoints == ("thumb", "wrist")
    assert main(["models", "show", str(tmp_path / "m")]) == 0
    assert "keypoints       thumb, wrist" in capsys.readouterr().out


def test_a_folder_without_its_weights_is_one_that_is_not_shared(
    green: Green, tmp_path: Path
) -> None:
    bind(green.job, tmp_path / "m")
    with pytest.raises(UserError, match=r"a folder that all machines share"):
        finish(green.job, green.data, tmp_path / "m")


def test_two_trainings_never_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with held(folder):
        bind(TrainJob(data="d"), folder)
        (folder / STATE / ".best.pt.0.part").write_text("cut")
        with pytest.raises(UserError, match=r"another run trains in .*m: wait"), held(folder):
            pass
    with held(folder):
        assert not list(folder.rglob("*.part"))


def test_what_is_no_folder_for_a_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    job = TrainJob(data="d")
    for folder, message in ((tmp_path, "is not empty"), (tmp_path / "thesis.txt", "got the file")):
        with pytest.raises(UserError, match=message), held(folder):
            pass
        with pytest.raises(UserError, match=message):
            bind(job, folder)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]


BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)


def coco(folder: Path, annotations: Sequence[Mapping[str, Any]], pixels: Pixels = BLACK) -> str:
    """Write one picture and what is on it as COCO JSON; return the file."""
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "1.png")
    height, width = pixels.shape[:2]
    one = {"image_id": 1, "category_id": 1, "bbox": [8, 8, 20, 20], "area": 400, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": width, "height": height}],
        "categories": [{"id": 1, "name": "hand"}],
        "annotations": [one | {"id": id_} | dict(each) for id_, each in enumerate(annotations, 1)],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return str(folder / "labels.json")


def test_other_keypoints_to_validate_on_are_refused(tmp_path: Path) -> None:
    train, val = (
        coco(tmp_path / str(count), [{"keypoints": [10, 10, 2] * count}]) for count in (2, 3)
    )
    with pytest.raises(UserError, match="train on have 2 keypoints, those to validate on 3"):
        open_job_data(TrainJob(data=train, val=val, task="pose"))


UNCHANGED = {
    **dict.fromkeys(("mosaic", "hue", "saturation", "value", "translate", "scale"), 0.0),
    "flip_horizontal": 0.0,
}


@pytest.mark.parametrize("side", [640, 1280])
def test_a_network_sees_no_less_than_its_size(tmp_path: Path, side: int) -> None:
    """Columns are black and white in turn: read at half the size, all would be grey."""
    pixels = np.zeros((side * 3 // 4, side, 3), np.uint8)
    pixels[:, ::2] = 255
    data = coco(tmp_path / "striped", [{}], pixels)
    job = TrainJob.model_validate(
        {"data": data, "val": data, "image_size": side, "augmentation": UNCHANGED}
    )
    seen = Augmented(open_job_data(job).train, "detect", job)[Key(epoch=0, number=0)].image
    top = side // 8
    np.testing.assert_array_equal(seen[top : top + len(pixels)], pixels)


@pytest.mark.parametrize(("bare", "purpose"), [("train", "train on"), ("val", "validate on")])
def test_a_split_without_an_object_is_refused(tmp_path: Path, bare: str, purpose: str) -> None:
    """As of YOLO text whose label files lie elsewhere: no epoch would be better than another."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.fromarray(BLACK).save(tmp_path / "images" / split / "1.png")
        if split != bare:
            (tmp_path / "labels" / split / "1.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    content = {"names": ["hand"], **{name: f"images/{name}" for name in ("train", "val")}}
    (tmp_path / "data.yaml").write_text(json.dumps(content))  # JSON is YAML
    with pytest.raises(UserError, match=f"1 pictures to {purpose} and not one object on them"):
        open_job_data(TrainJob(data=str(tmp_path / "data.yaml")))


def test_a_split_without_a_keypoint_is_refused(tmp_path: Path) -> None:
    train = coco(tmp_path / "train", [{"keypoints": [10, 10, 2]}])
    val = coco(tmp_path / "val", [{"keypoints": [0, 0, 0]}])
    with pytest.raises(UserError, match="validate on and not one keypoint on them"):
        open_job_data(TrainJob(data=train, val=val, task="pose"))


def test_a_picture_that_is_there_twice_is_not_validated_on(tmp_path: Path) -> None:
    """To train on it twice is somebody's choice; the metrics refuse it after the first epoch."""
    Image.fromarray(BLACK).save(tmp_path / "1.png")
    (tmp_path / "1.txt").write_text("0 0.5 0.5 0.3 0.3")
    content = {"names": ["a"], "train": [".", "."], "val": "."}
    (tmp_path / "data.yaml").write_text(json.dumps(content))
    assert len(open_job_data(TrainJob(data=str(tmp_path / "data.yaml"))).train) == 2
    (tmp_path / "data.yaml").write_text(json.dumps(content | {"val": [".", "."]}))
    with pytest.raises(UserError, match=r"1\.png twice to validate on"):
        open_job_data(TrainJob(data=str(tmp_path / "data.yaml")))


def test_pictures_without_a_label_are_counted(tmp_path: Path) -> None:
    for number, label in enumerate(("", "0 0.5 0.5 0.3 0.3", "")):
        Image.fromarray(BLACK).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(label)
    (tmp_path / "data.yaml").write_text(json.dumps({"names": ["a"], "train": ".", "val": "."}))
    told = YoloTraining(TrainJob(data=str(tmp_path / "data.yaml"), width=0.125)).told()
    without = "3 pictures (2 without a label)"
    assert told.startswith(f"detect: {without} to train on, {without} to validate, 1 classes")
