"""Labelled pictures from COCO JSON, YOLO text and folders of classes, and mistakes in them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference
from PIL import Image

from lakesight import masks
from lakesight.errors import UserError
from lakesight.scenes.coco import categories as scene_categories
from lakesight.training.sampling import Key
from lakesight.training.yolo.batches import Augmented, collate
from lakesight.training.yolo.coco import open_coco
from lakesight.training.yolo.folders import open_folders
from lakesight.training.yolo.settings import TrainSettings
from lakesight.training.yolo.yolo_text import open_yolo_text

WIDTH, HEIGHT = 80, 60
BOX = [10.0, 20.0, 30.0, 16.0]
"""Left, top, width, height of the one object: a filled rectangle."""


def filled() -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:36, 10:40] = True
    return mask


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    pixels[filled()] = (250, 10, 10)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[:, ::-1]).save(folder / "empty.png")
    return folder


def coco(tmp_path: Path, **changes: Any) -> Path:
    annotation = {
        "id": 1,
        "image_id": 7,
        "category_id": 5,
        "bbox": BOX,
        "iscrowd": 0,
        "segmentation": masks.encode(filled()).as_coco(),
        "keypoints": [10, 20, 2, 40, 36, 1, 0, 0, 0],
        "obb": [25, 28, 30, 16, 0.0],
    } | changes
    content = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 8, "file_name": "empty.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [annotation],
        "categories": [{"id": 9, "name": "dog"}, {"id": 5, "name": "cat"}],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_coco_gives_every_kind_of_truth(tmp_path: Path, images: Path) -> None:
    path = coco(tmp_path)
    sample = open_coco(path, images, "segment")[0]
    assert sample.boxes_xyxy.tolist() == [[10, 20, 40, 36]]
    assert sample.class_ids.tolist() == [0]
    assert open_coco(path, images, "segment").labels == ("cat", "dog")
    np.testing.assert_array_equal(sample.instances, filled())
    np.testing.assert_array_equal(sample.image[..., 0] == 250, filled())
    points = open_coco(path, images, "pose")[0].keypoints
    assert points is not None
    assert points.tolist() == [[[10, 20, 2], [40, 36, 1], [0, 0, 0]]]
    quads = open_coco(path, images, "obb")[0].quads
    assert quads is not None
    assert sorted(map(tuple, quads[0].tolist())) == [(10, 20), (10, 36), (40, 20), (40, 36)]


def test_a_picture_without_labels_is_a_picture_without_objects(
    tmp_path: Path, images: Path
) -> None:
    sample = open_coco(coco(tmp_path), images, "detect")[1]
    assert len(sample) == 0
    assert sample.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_a_mosaic_may_have_pictures_without_objects(
    tmp_path: Path, images: Path, task: Any
) -> None:
    pictures = Augmented(open_coco(coco(tmp_path), images, task), task, TrainSettings())
    samples = [pictures[Key(epoch, number)] for epoch in range(4) for number in (0, 1)]
    assert {len(each) for each in samples} > {0}, "some mosaics have the object, some have none"
    batch = collate(samples)
    assert batch.truth.objects.boxes.shape[-1] == (5 if task == "obb" else 4)
    assert (batch.truth.keypoints is not None) == (task == "pose")
    assert (batch.truth.instances is not None) == (task == "segment")


def test_names_of_coco_keypoints_say_what_a_mirror_does(tmp_path: Path, images: Path) -> None:
    path = coco(tmp_path)
    assert open_coco(path, images, "pose")[0].flip_indices is None
    content = json.loads(path.read_text())
    names = ["left_eye", "right_eye", "nose"]
    for category in content["categories"]:
        category["keypoints"] = names
    path.write_text(json.dumps(content))
    assert open_coco(path, images, "pose")[0].flip_indices == (1, 0, 2)
    assert open_coco(path, images, "pose").keypoint_names == tuple(names)
    assert open_coco(path, images, "detect")[0].flip_indices is None
    content["categories"][0]["keypoints"] = ["nose", "left_eye", "right_eye"]
    path.write_text(json.dumps(content))
    assert open_coco(path, images, "pose").flip_indices is None, "the categories do not agree"
    assert open_coco(path, images, "pose").keypoint_names is None


def test_scenes_are_not_mirrored_with_their_keypoints(tmp_path: Path, images: Path) -> None:
    content = json.loads(coco(tmp_path).read_text()) | {"categories": scene_categories()}
    content["annotations"][0] |= {"category_id": 1, "keypoints": [0.0] * 24}
    (tmp_path / "scenes.json").write_text(json.dumps(content))
    assert open_coco(tmp_path / "scenes.json", images, "pose").flip_indices is None


def test_crowds_areas_and_kinds_are_kept_for_judging(tmp_path: Path, images: Path) -> None:
    rle = masks.encode(filled())
    plain = {"size": list(rle.size), "counts": masks.decompress(rle.counts).tolist()}
    path = coco(tmp_path, iscrowd=1, segmentation=plain, area=123.5)
    content = json.loads(path.read_text())
    content["images"][0] |= {"camera": "north", "date_captured": "2026-11-23", "flags": [1]}
    content["annotations"].append(content["annotations"][0] | {"id": 2, "iscrowd": 0, "area": 7})
    path.write_text(json.dumps(content))
    first, empty = open_coco(path, images, "segment").pictures
    assert first.kinds == {"camera": "north"}
    assert first.areas is not None
    assert first.areas.tolist() == [7]
    assert first.crowd is not None
    assert first.crowd.areas is not None
    assert first.crowd.areas.tolist() == [123.5]
    assert first.crowd.boxes_xyxy.tolist() == [[10, 20, 40, 36]]
    assert empty.crowd is None
    sample = open_coco(path, images, "segment")[0]
    assert len(sample) == 1  # the crowd is not learnt
    np.testing.assert_array_equal(sample.instances, filled())


def test_areas_that_are_not_all_there_are_none(tmp_path: Path, images: Path) -> None:
    assert open_coco(coco(tmp_path), images, "detect").pictures[0].areas is None


def test_polygons_are_filled(tmp_path: Path, images: Path) -> None:
    ring = [10, 20, 40, 20, 40, 36, 10, 36]
    sample = open_coco(coco(tmp_path, segmentation=[ring]), images, "segment")[0]
    np.testing.assert_array_equal(sample.instances, filled())


def test_a_mask_is_what_coco_makes_of_it(tmp_path: Path, images: Path) -> None:
    """Polygons of one object that overlap are one mask without a hole, by faster-coco-eval."""
    rings = [
        [10.0, 20.0, 31.5, 21.0, 25.0, 37.3],
        [20.0, 15.0, 40.0, 20.0, 38.2, 40.0, 18.0, 30.0],
        [60.0, 50.0, 66.0, 50.0, 62.0, 55.0],
    ]
    sample = open_coco(coco(tmp_path, segmentation=rings), images, "segment")[0]
    expected = reference.merge(reference.frPyObjects(rings, HEIGHT, WIDTH))
    np.testing.assert_array_equal(sample.instances, reference.decode(expected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 99}, "picture 99, which is not in `images`"),
        ({"category_id": 99}, "category 99, which is not in `categories`"),
        ({"bbox": [60, 20, 30, 16]}, "reaches outside"),
        ({"bbox": [10, 20, 0, 16]}, "it is empty"),
        ({"bbox": [10, 20, math.nan, 16]}, r"annotations\.0\.bbox\.2: .* a finite number"),
        ({"bbox": [10, 20, 30]}, r"annotations\.0\.bbox\.3: Field required"),
        ({"bbox": None}, r"annotations\.0\.bbox: Input should be a valid tuple"),
        ({"area": math.inf}, r"annotations\.0\.area: .* a finite number"),
        ({"segmentation": []}, "has no segmentation, which this task needs"),
        ({"segmentation": [[10, 20, 40, math.nan, 40, 36]]}, "a mask of .*a.png must be polygons"),
        ({"segmentation": [[10, 20, 40, 20]]}, "must be polygons .* of three points or more"),
        ({"segmentation": [10, 20, 40, 20, 40, 36]}, "must be polygons"),
        ({"segmentation": {"size": [9, 9], "counts": "09"}}, r"the `size` \[60, 80\] of its pic"),
    ],
)
def test_a_wrong_annotation_is_said_with_its_place(
    tmp_path: Path, images: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_coco(coco(tmp_path, **changes), images, "segment")


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("obb", {"obb": [5000, 5000, 30, 16, 0]}, "rotated box 1 .* lies outside"),
        ("obb", {"obb": [25, 28, 5000, 16, 0]}, "rotated box 1 .* lies outside"),
        ("obb", {"obb": [25, 28, 0, 16, 0]}, "rotated box 1 .* is empty"),
        (
            "pose",
            {"keypoints": [10, 20, 2, 580, 20, 1, 0, 0, 0]},
            r"a\.png: keypoint 2 of object 1 is at \[580\.0, 20\.0\] .*: it is outside",
        ),
        ("pose", {"keypoints": [10, 20, 2, 40, 36, 3, 0, 0, 0]}, "has the visibility 3"),
        ("segment", {"segmentation": [[200, 20, 240, 20, 240, 36]]}, "out of a picture of 80 x 60"),
        ("segment", {"segmentation": [[10, 20, 20, 20, 40, 20]]}, "encloses nothing"),
        ("segment", {"segmentation": {"size": [60, 80], "counts": [4800]}}, "a mask is empty"),
        ("segment", {"segmentation": {"size": [60, 80], "counts": [9, 9]}}, "that do not fill"),
        ("segment", {"segmentation": {"size": [60, 80], "counts": ["a"]}}, "cannot be read|no run"),
    ],
)
def test_a_shape_that_does_not_fit_its_picture_is_said(
    tmp_path: Path, images: Path, task: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_coco(coco(tmp_path, **changes), images, task)


def test_what_rounding_leaves_outside_is_cut(tmp_path: Path, images: Path) -> None:
    path = coco(tmp_path, bbox=[-1, 20, 31, 16], keypoints=[-1.5, 20, 2, -9, -9, 0])
    sample = open_coco(path, images, "pose")[0]
    assert sample.boxes_xyxy.tolist() == [[0, 20, 30, 36]]
    assert sample.keypoints is not None
    assert sample.keypoints.tolist() == [[[0, 20, 2], [-9, -9, 0]]], "what is not there may be off"


@pytest.mark.parametrize(
    ("kind", "field", "message"),
    [
        ("images", "width", r"images\.0\.width: Field required"),
        ("images", "file_name", r"images\.0\.file_name: Field required"),
        ("categories", "name", r"categories\.0\.name: Field required"),
        ("annotations", "image_id", r"annotations\.0\.image_id: Field required"),
    ],
)
def test_what_a_coco_file_lacks_is_said(
    tmp_path: Path, images: Path, kind: str, field: str, message: str
) -> None:
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    del content[kind][0][field]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        open_coco(path, images, "detect")
    path.write_text("[]")
    with pytest.raises(UserError, match="it lacks annotations, categories, images"):
        open_coco(path, images, "detect")


@pytest.mark.parametrize(("kind", "id_"), [("images", 7), ("categories", 9)])
def test_an_id_that_is_there_twice_is_said(
    tmp_path: Path, images: Path, kind: str, id_: int
) -> None:
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    content[kind].append(content[kind][0] | {"file_name": "b.png", "name": "bird"})
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"two of the `{kind}` have the id {id_}:"):
        open_coco(path, images, "detect")


def test_a_class_name_that_is_there_twice_is_said(tmp_path: Path, images: Path) -> None:
    """The metrics would refuse it after the first epoch, or mix the two."""
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "cat"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="two classes are called 'cat'"):
        open_coco(path, images, "detect")
    path = yolo(tmp_path, LINES["detect"], names=["dog", "cat", "dog"])
    with pytest.raises(UserError, match="two classes are called 'dog'"):
        open_yolo_text(path, "train", "detect")


def test_a_class_without_a_name_is_said(tmp_path: Path, images: Path) -> None:
    path = yolo(tmp_path, LINES["detect"], names=["dog", " "])
    with pytest.raises(UserError, match="class 1 has an empty name"):
        open_yolo_text(path, "train", "detect")


def test_all_objects_have_the_same_keypoints(tmp_path: Path, images: Path) -> None:
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    (first,) = content["annotations"]
    content["annotations"].append(first | {"id": 2, "keypoints": [10, 20, 2]})
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a\.png have 3 and 9 numbers of keypoints"):
        open_coco(path, images, "pose")
    content["annotations"][1]["image_id"] = 8
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"empty\.png has 1 keypoints, others have 3"):
        open_coco(path, images, "pose")
    content["annotations"].pop()
    content["categories"][0]["keypoints"] = ["left_eye", "right_eye"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="dog names 2 keypoints, but annotations have 3"):
        open_coco(path, images, "pose")
    content["categories"][0]["keypoints"] = ["left_eye", "right_eye", "right_eye"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"names of keypoints in .* must name for each of 3"):
        open_coco(path, images, "pose")


def test_coco_pictures_that_are_not_there_are_said_when_it_is_opened(
    tmp_path: Path, images: Path
) -> None:
    path = coco(tmp_path)
    (images / "empty.png").unlink()
    message = r"1 of 2 pictures of .*labels\.json are missing, such as .*empty\.png: .* --images"
    with pytest.raises(UserError, match=message):
        open_coco(path, images, "detect")
    with pytest.raises(UserError, match="2 of 2 pictures"):
        open_coco(path, tmp_path, "detect")
    assert len(open_coco(path, tmp_path, "detect", local=False)) == 2


def test_labels_for_another_size_are_refused(tmp_path: Path, images: Path) -> None:
    path = coco(tmp_path)
    Image.new("RGB", (WIDTH * 2, HEIGHT)).save(images / "a.png")
    dataset = open_coco(path, images, "detect")
    with pytest.raises(UserError, match="its labels say 80 x 60"):
        dataset[0]


def yolo(tmp_path: Path, line: str, **more: Any) -> Path:
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True, exist_ok=True)
    (labels / "a.txt").write_text(line + "\n")
    path = tmp_path / "data.yaml"
    content = {"path": str(tmp_path), "train": "images/train", "names": {0: "cat", 1: "dog"}} | more
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


LINES = {
    "detect": "1 0.3125 0.4666667 0.375 0.2666667",
    "segment": "1 0.125 0.3333333 0.5 0.3333333 0.5 0.6 0.125 0.6",
    "obb": "1 0.125 0.3333333 0.5 0.3333333 0.5 0.6 0.125 0.6",
    "pose": "1 0.3125 0.4666667 0.375 0.2666667 0.125 0.3333333 2",
}


@pytest.mark.parametrize("task", LINES)
def test_yolo_text_says_the_same(tmp_path: Path, images: Path, task: Any) -> None:
    path = yolo(tmp_path, LINES[task], kpt_shape=[1, 3])
    dataset = open_yolo_text(path, "train", task)
    assert dataset.labels == ("cat", "dog")
    sample, empty = dataset[0], dataset[1]
    np.testing.assert_allclose(sample.boxes_xyxy, [[10, 20, 40, 36]], atol=1e-3)
    assert sample.class_ids.tolist() == [1]
    assert len(empty) == 0
    if task == "pose":
        assert sample.keypoints is not None
        np.testing.assert_allclose(sample.keypoints, [[[10, 20, 2]]], atol=1e-3)
    if task == "obb":
        assert sample.quads is not None
        np.testing.assert_allclose(sample.quads[0, 0], [10, 20], atol=1e-3)


REACHING_OUT = np.array([[70, 22], [100, 22], [100, 38], [70, 38]], np.float32)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_a_rotated_box_may_reach_out_of_its_picture(
    tmp_path: Path, images: Path, form: str
) -> None:
    """It goes around the whole object, of which the picture may show a part."""
    corners = " ".join(f"{value:.7f}" for value in (REACHING_OUT / (WIDTH, HEIGHT)).ravel())
    if form == "coco":
        dataset = open_coco(coco(tmp_path, obb=[85, 30, 30, 16, 0.0]), images, "obb")
    else:
        dataset = open_yolo_text(yolo(tmp_path, f"1 {corners}"), "train", "obb")
    quads = dataset[0].quads
    assert quads is not None
    np.testing.assert_allclose(quads[0], REACHING_OUT, atol=1e-3)
    if form == "yolo":
        np.testing.assert_allclose(dataset[0].boxes_xyxy, [[70, 22, 80, 38]], atol=1e-3)


def test_corners_that_are_nearly_a_rectangle_become_one(tmp_path: Path, images: Path) -> None:
    """20 wide at the top, 24 at the bottom, 12 high: the smallest box around is 24 by 12."""
    corners = np.array([[12, 20], [32, 20], [34, 32], [10, 32]]) / (WIDTH, HEIGHT)
    line = "1 " + " ".join(f"{value:.7f}" for value in corners.ravel())
    quads = open_yolo_text(yolo(tmp_path, line), "train", "obb")[0].quads
    assert quads is not None
    found = sorted(np.round(quads[0], 2).tolist())
    assert found == [[10, 20], [10, 32], [34, 20], [34, 32]]


def test_a_split_may_be_several_folders(tmp_path: Path, images: Path) -> None:
    more = images.parent / "more"
    more.mkdir()
    Image.open(images / "a.png").save(more / "b.png")
    path = yolo(tmp_path, LINES["detect"], train=["images/train", "images/more"])
    dataset = open_yolo_text(path, "train", "detect")
    assert [one.path.name for one in dataset.pictures] == ["a.png", "empty.png", "b.png"]
    assert [len(one.class_ids) for one in dataset.pictures] == [1, 0, 0]


def test_labels_without_a_picture_are_said(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = yolo(tmp_path, LINES["detect"])
    open_yolo_text(path, "train", "detect")
    assert not caplog.messages
    labels = tmp_path / "labels" / "train"
    for name in ("gone.txt", "classes.txt"):
        (labels / name).write_text(LINES["detect"])
    assert len(open_yolo_text(path, "train", "detect")) == 2
    (said,) = caplog.messages
    assert said.startswith(f"1 of the files of labels in {labels} have no picture")
    assert said.endswith("such as gone.txt")


def test_a_split_may_be_a_list(tmp_path: Path, images: Path) -> None:
    """Its lines are relative to where it lies, as in what other tools write."""
    path = yolo(tmp_path, LINES["detect"], train="images/train.txt")
    names = images.parent / "train.txt"
    names.write_text(f"./train/a.png\n\n{images / 'empty.png'}\n")
    dataset = open_yolo_text(path, "train", "detect")
    assert [one.path for one in dataset.pictures] == [images / "a.png", images / "empty.png"]
    assert [len(one.class_ids) for one in dataset.pictures] == [1, 0]
    names.write_text("train/a.png\ntrain/gone.png\n")
    with pytest.raises(UserError, match=r"1 of 2 pictures that .*train\.txt names .*gone\.png"):
        open_yolo_text(path, "train", "detect")
    names.write_text("")
    with pytest.raises(UserError, match=r"there are no pictures in .*train\.txt, the split"):
        open_yolo_text(path, "train", "detect")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"a": 1}}, "train: "),
        ({"train": ["images/train", "images/none"]}, "there is no .*images/none, the split"),
        ({"train": None}, "has no split 'train'; it has none"),
        ({"names": 2}, "names: "),
        ({"names": {1: "cat", 2: "dog"}}, "numbered 0 to 1, .* there is a 1 and no 0"),
        ({"names": {0: "cat", 1: "dog", 4: "bird"}}, "numbered 0 to 2, .* a 4 and no 2"),
        ({"names": {-1: "cat", 0: "dog"}}, "numbered 0 to 1, .* a -1 and no 0"),
        ({"kpt_shape": 17}, "kpt_shape: "),
        ({"kpt_shape": [17, 4]}, "kpt_shape: "),
    ],
)
def test_a_wrong_data_file_is_said(
    tmp_path: Path, images: Path, change: dict[str, Any], message: str
) -> None:
    path = yolo(tmp_path, LINES["detect"], **change)
    with pytest.raises(UserError, match=message):
        open_yolo_text(path, "train", "detect")


def test_keypoints_outside_are_said_in_yolo_text(tmp_path: Path, images: Path) -> None:
    path = yolo(tmp_path, LINES["pose"] + " 7.2 0.4 2", kpt_shape=[2, 3])
    with pytest.raises(UserError, match=r"keypoint 2 of object 1 is at .*: it is outside"):
        open_yolo_text(path, "train", "pose")


def test_yolo_text_says_what_a_mirror_does(tmp_path: Path, images: Path) -> None:
    line = LINES["pose"] + " 0.2 0.4 2"
    path = yolo(tmp_path, line, kpt_shape=[2, 3], flip_idx=[1, 0])
    assert open_yolo_text(path, "train", "pose")[0].flip_indices == (1, 0)
    for wrong in ([1, 2], 1):
        path = yolo(tmp_path, line, kpt_shape=[2, 3], flip_idx=wrong)
        with pytest.raises(UserError, match="must name for each of 2 keypoints"):
            open_yolo_text(path, "train", "pose")


@pytest.mark.parametrize(
    ("line", "task", "message"),
    [
        ("1 0.3 0.4 0.3", "detect", "line 1: 3 numbers after a class, but detect wants 4"),
        ("7 0.3 0.4 0.3 0.2", "detect", "line 1: class 7, but the names are numbered 0 to 1"),
        ("cat 0.3 0.4 0.3 0.2", "detect", "line 1: expected numbers"),
        ("1 0.9 0.4 0.9 0.2", "detect", "reaches outside"),
        ("0 nan 0.5 0.1 0.1", "detect", "line 1: expected numbers, got '0 nan"),
        ("nan 0.5 0.5 0.1 0.1", "detect", "line 1: expected numbers"),
        ("0 0.1 0.1 0.2 inf 0.3 0.3", "segment", "line 1: expected numbers"),
        ("0 0.1 0.1 0.2 0.1 0.2 nan 0.1 0.2", "obb", "line 1: expected numbers"),
        ("1 0.1 0.1 0.2 0.2 0.3", "segment", "6 or more, an even number"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3", "segment", "encloses nothing"),
        ("1 3.1 0.1 3.2 0.1 3.2 0.2 3.1 0.2", "obb", "lies outside"),
        ("1 0.1 0.1 0.4 0.4 0.4 0.1 0.1 0.4", "obb", "fill 0% of .*: give .* going round"),
        ("1 0.1 0.1 0.4 0.1 0.4 0.4 0.4 0.4", "obb", "fill 50% of the smallest rectangle"),
        ("1 0.3 0.4 0.3 0.2 0.1 0.1 2", "pose", "kpt_shape"),
    ],
)
def test_a_wrong_line_is_said_with_its_place(
    tmp_path: Path, images: Path, line: str, task: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_yolo_text(yolo(tmp_path, line), "train", task)


def test_folders_are_classes(tmp_path: Path, images: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "sorted" / name).mkdir(parents=True)
    image = Image.open(images / "a.png")
    image.save(tmp_path / "sorted" / "cat" / "1.png")
    with pytest.raises(UserError, match="dog has no picture"):
        open_folders(tmp_path / "sorted")
    image.save(tmp_path / "sorted" / "dog" / "2.png")
    dataset = open_folders(tmp_path / "sorted")
    assert dataset.labels == ("cat", "dog")
    assert [dataset[n].class_ids.tolist() for n in range(2)] == [[0], [1]]
