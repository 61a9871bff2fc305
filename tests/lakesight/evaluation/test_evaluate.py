"""Models judged on labelled pictures: what counts, what does not, and what is said of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from lakesight.errors import UserError
from lakesight.evaluation import Evaluation, evaluate, judge_of, task_of, to_judge
from lakesight.metrics import (
    Bootstrap,
    ClassificationResult,
    DetectionResult,
    MultiLabelResult,
)
from lakesight.models import catalog
from lakesight.models.base import Model
from lakesight.models.look import look
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.reading import OUTPUTS
from lakesight.schemas import ANSWERS, CAPTIONS, CLASSES, detection_type, embedding_type
from lakesight.training.yolo.datasets import Labelled, Pictures
from lakesight.training.yolo.folders import open_folders
from lakesight.training.yolo.sources import open_data
from tests import yolo_folders
from tests.yolo_folders import LABELS

SIZE = 64
BOX = [10.0, 12.0, 40.0, 44.0]


def built(folder: str, **options: Any) -> Model:
    return catalog.build(to_judge(catalog.spec(folder), **options))


def renamed(dataset: Pictures, labels: Sequence[str]) -> Pictures:
    """Return scenes whose classes have other names, as many as a model knows."""
    pictures = [replace(one, class_ids=one.class_ids % len(labels)) for one in dataset.pictures]
    return replace(dataset, labels=tuple(labels), pictures=pictures)


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_nothing_found_is_judged_too(scenes: Path, task: Task) -> None:
    dataset = open_data(str(scenes), "val", task)
    judge = judge_of(dataset, OUTPUTS[task])
    judge.update(dataset.pictures[:5], pa.array([[]] * 5, OUTPUTS[task].type))
    judge.update(dataset.pictures[5:], pa.array([[]] * 7, OUTPUTS[task].type))
    result = judge.result()
    assert (result.fitness, result.notes) == (0, ())
    for one in result.results.values():
        assert isinstance(one, DetectionResult)
        assert (one.num_pictures, one.num_found) == (12, 0)
        assert one.num_truth == sum(len(picture.class_ids) for picture in dataset.pictures)
    assert json.loads(json.dumps(result.to_dict()))["fitness"] == 0


def test_a_class_without_truth_is_nan_and_does_not_count(
    scenes: Path, model: Callable[[Task], str]
) -> None:
    dataset = renamed(open_data(str(scenes), "val", "detect"), ("cat", "dog"))
    dataset = replace(dataset, labels=("cat", "dog", "horse"))
    result = evaluate(built(model("detect")), dataset)
    box = result.results["box"]
    assert isinstance(box, DetectionResult)
    assert [np.isnan(one.ap) for one in box.classes] == [False, False, True]
    assert box.map == np.mean([one.ap for one in box.classes[:2]])
    plain = result.to_dict()["results"]["box"]
    assert plain["classes"][2]["ap"] is None
    (note,) = result.notes
    assert "of classes that the labels lack, 1 such as bird: they do not count" in note
    assert "horse" in result.table()


def test_classes_of_other_names_are_refused(scenes: Path, model: Callable[[Task], str]) -> None:
    dataset = open_data(str(scenes), "val", "detect")
    with pytest.raises(UserError, match="use the same names for the same classes"):
        evaluate(built(model("detect")), dataset)


@pytest.mark.parametrize(
    ("task", "other", "message"),
    [
        ("segment", "detect", "suits the task detect, not segment"),
        ("detect", "classify", "suits the task classify, not detect"),
    ],
)
def test_a_model_for_another_task_is_refused(
    scenes: Path, model: Callable[[Task], str], task: Task, other: Task, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(built(model(other)), open_data(str(scenes), "val", task))


def test_a_column_tells_its_task() -> None:
    for task, column in OUTPUTS.items():
        assert task_of(column) == task
    for name, kind, words in (
        ("caption", pa.string(), "caption"),
        ("captions", CAPTIONS, "caption"),
        ("answers", ANSWERS, "answer"),
        ("embedding", embedding_type(8), "retrieve"),
        ("embeddings", pa.list_(embedding_type(8, pa.float32())), "retrieve"),
    ):
        assert task_of(pa.field(name, kind)) == words
    for name, other in (("uri", pa.string()), ("width", pa.int32())):
        with pytest.raises(UserError, match=f"'{name}' holds .*: no objects, classes, captions"):
            task_of(pa.field(name, other))


def test_other_keypoints_are_refused(scenes: Path, model: Callable[[Task], str]) -> None:
    dataset = renamed(open_data(str(scenes), "val", "pose"), LABELS)
    with pytest.raises(
        UserError, match="4 keypoints were found of an object, but the labels have 8"
    ):
        evaluate(built(model("pose")), dataset)


def test_poses_without_keypoints_are_refused(scenes: Path, model: Callable[[Task], str]) -> None:
    dataset = renamed(open_data(str(scenes), "val", "pose"), LABELS)
    nowhere, nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    bare = [
        replace(one, boxes_xyxy=nowhere, class_ids=nothing, keypoints=None)
        for one in dataset.pictures
    ]
    with pytest.raises(UserError, match="no keypoints on the 12 pictures to compare with"):
        evaluate(built(model("pose")), replace(dataset, pictures=bare))


def test_labels_of_another_size_are_refused(scenes: Path, model: Callable[[Task], str]) -> None:
    dataset = renamed(open_data(str(scenes), "val", "detect"), LABELS)
    half = replace(dataset.pictures[7], size_wh=(80, 80))
    pictures = [*dataset.pictures[:7], half, *dataset.pictures[8:]]
    with pytest.raises(
        UserError, match=r"000007\.jpg is 160 x 160 pixels upright, its labels say 80"
    ):
        evaluate(built(model("detect")), replace(dataset, pictures=pictures))


def test_no_pictures_are_refused(model: Callable[[Task], str]) -> None:
    with pytest.raises(UserError, match="there are no pictures to evaluate on"):
        evaluate(built(model("detect")), Pictures(LABELS, [], "detect"))


def test_slices_are_the_same_as_the_pictures_alone(
    scenes: Path, model: Callable[[Task], str]
) -> None:
    dataset = renamed(open_data(str(scenes), "val", "detect"), LABELS)
    judged = built(model("detect"))
    draws = Bootstrap(resamples=20)
    result = evaluate(judged, dataset, draws, ["label", "folder"])
    assert list(result.slices["folder"]) == ["val"]
    kinds = {one.kinds["label"] for one in dataset.pictures}
    assert set(result.slices["label"]) == kinds
    kind = sorted(kinds)[0]
    alone = [one for one in dataset.pictures if one.kinds["label"] == kind]
    expected = evaluate(judged, replace(dataset, pictures=alone), draws)
    assert expected.to_dict()["results"] == result.to_dict()["slices"]["label"][kind]
    assert f"\n{kind} " in result.table()
    with pytest.raises(UserError, match="no picture has the slice 'camera'"):
        evaluate(judged, dataset, slices=["camera"])


def sorted_pictures(folder: Path) -> Path:
    """Write three pictures a class, into a folder for each."""
    for number, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for index in range(3):
            rng = np.random.default_rng(3 * number + index)
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")
    return folder


def test_one_class_a_picture(tmp_path: Path, model: Callable[[Task], str]) -> None:
    dataset = open_folders(sorted_pictures(tmp_path))
    judged = built(model("classify"))
    best = [one[0]["label"] for one in look(judged, [p.path for p in dataset.pictures]).to_pylist()]
    true = [LABELS.index(one.path.parent.name) for one in dataset.pictures]
    assert dataset.labels != LABELS  # in the order of the folders: matched by name
    right = [LABELS[place] == name for place, name in zip(true, best, strict=True)]
    result = evaluate(judged, dataset).results["classes"]
    assert isinstance(result, ClassificationResult)
    assert result.top1 == np.mean(right)
    assert result.top5 == 1
    assert result.confusion.counts.sum() == 9


def test_any_number_of_classes_a_picture(tmp_path: Path) -> None:
    yolo_folders.write(tmp_path / "model", "classify", multi_label=True)
    rng = np.random.default_rng(0)
    dataset = open_folders(sorted_pictures(tmp_path / "sorted"))
    truth = rng.random((9, 3)) < 0.5
    pictures = [
        replace(one, class_ids=np.flatnonzero(row))
        for one, row in zip(dataset.pictures, truth, strict=True)
    ]
    judged = built(str(tmp_path / "model"), score_threshold=0.0)
    found = look(judged, [one.path for one in pictures]).to_pylist()
    scores = [
        [{c["label"]: c["score"] for c in one}[name] for name in dataset.labels] for one in found
    ]
    several = replace(dataset, pictures=pictures, multi_label=True)
    result = evaluate(judged, several).results["classes"]
    assert isinstance(result, MultiLabelResult)
    expected = average_precision_score(truth, np.array(scores), average="macro")
    assert result.map == pytest.approx(expected, abs=1e-9)
    by_folder = replace(dataset, multi_label=True)  # each picture happens to have one class
    assert isinstance(evaluate(judged, by_folder).results["classes"], MultiLabelResult)
    with pytest.raises(UserError, match=r"has [02] classes: give it one, or judge all classes"):
        evaluate(judged, replace(several, multi_label=False))


def labelled(number: int, **more: Any) -> Labelled:
    plain: dict[str, Any] = {
        "path": Path(f"{number}.jpg"),
        "size_wh": (SIZE, SIZE),
        "boxes_xyxy": np.array([BOX], np.float32),
        "class_ids": np.array([0]),
    }
    return Labelled(**plain | more)


def test_who_names_no_class_is_wrong_and_it_is_said() -> None:
    dataset = Pictures(LABELS, [labelled(0), labelled(1), labelled(2)], "classify")
    judge = judge_of(dataset, pa.field("classes", CLASSES))
    cat = {"class_id": 0, "label": "cat", "score": 0.9}
    judge.update(dataset.pictures, pa.array([[cat], None, []], CLASSES))
    result = judge.result()
    classes = result.results["classes"]
    assert isinstance(classes, ClassificationResult)
    assert (result.fitness, classes.top5) == (1 / 3, 1 / 3)
    assert result.notes == ("2 pictures have no value, which counts as no class named",)


def test_objects_without_keypoints_are_left_out() -> None:
    points = [[x, y, 2.0] for x, y in ((12, 14), (30, 20), (38, 40))]
    keypoints = np.array([points], np.float32)
    dataset = Pictures(LABELS, [labelled(n, keypoints=keypoints) for n in range(2)], "pose")
    kind = detection_type(keypoints=True)
    cat = {"box": BOX, "score": 0.9, "class_id": 0, "label": "cat"}
    found = [{**cat, "keypoints": None, "score": 0.95}, {**cat, "keypoints": points}]
    judge = judge_of(dataset, pa.field("detections", kind))
    judge.update(dataset.pictures[:1], pa.array([found], kind))
    judge.update(dataset.pictures[1:], pa.array([None], kind))
    result = judge.result()
    pose = result.results["keypoints"]
    assert isinstance(pose, DetectionResult)
    assert (pose.num_found, pose.num_truth) == (1, 2)
    assert pose.recall50 == 0.5
    assert result.notes == ("1 picture has no value, which counts as nothing found",)


def test_what_was_most_confused_is_told() -> None:
    dataset = Pictures(LABELS, [labelled(n) for n in range(3)], "detect")
    kind = detection_type()
    judge = judge_of(dataset, pa.field("detections", kind))
    seen = ["dog", "dog", "cat"]
    found = [
        [{"box": BOX, "score": 0.9, "class_id": 0, "label": label}, *far_away(number)]
        for number, label in enumerate(seen)
    ]
    judge.update(dataset.pictures, pa.array(found, kind))
    table = judge.result().table()
    assert "most confused: cat as dog 2, background as bird 1" in table


def far_away(number: int) -> list[dict[str, Any]]:
    """Return a thing that is not there, on the first picture."""
    box = [50.0, 50.0, 60.0, 60.0]
    return [{"box": box, "score": 0.8, "class_id": 2, "label": "bird"}] if number == 0 else []


def test_fitness_is_of_the_shape_that_the_task_is_about(
    scenes: Path, model: Callable[[Task], str]
) -> None:
    dataset = renamed(open_data(str(scenes), "val", "segment"), LABELS)
    result = evaluate(built(model("segment")), dataset)
    mask = result.results["mask"]
    assert isinstance(mask, DetectionResult)
    assert result.fitness == mask.map
    figures = result.figures()
    assert figures["mask/map"] == mask.map
    assert list(figures) == ["box/map", "box/map50", "mask/map", "mask/map50", "fitness"]
    assert Evaluation({"mask": mask}).figures()["fitness"] == mask.map
