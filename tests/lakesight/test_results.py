"""Results: as Arrow, as objects of the real supervision, and drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import supervision as sv
from PIL import Image

import lakesight
from lakesight import masks
from lakesight.errors import UserError
from lakesight.loaded import LoadedModel
from lakesight.models.rotated import corners
from lakesight.models.yolo.architecture import Task
from lakesight.paint import paint
from lakesight.results import Result, Results
from lakesight.schemas import CAPTIONS, embedding_type
from tests import yolo_folders
from tests.yolo_folders import LABELS

SIZE_WH = (120, 80)


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    width, height = SIZE_WH
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], LoadedModel]:
    """Return a function that gives the tiny model of a task."""
    root = tmp_path_factory.mktemp("models")
    loaded: dict[str, LoadedModel] = {}

    def load(task: Task) -> LoadedModel:
        if task not in loaded:
            yolo_folders.write(root / task, task)
            loaded[task] = lakesight.load(str(root / task))
        return loaded[task]

    return load


def scores(result: Result) -> npt.NDArray[np.float32]:
    return np.array([one["score"] for one in result.value], np.float32)


def detections(result: Result) -> sv.Detections:
    found = result.to_supervision()
    assert isinstance(found, sv.Detections)
    return found


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_objects_are_detections(model: Callable[[Task], LoadedModel], task: Task) -> None:
    result = model(task).predict(pictures())[1]
    assert len(result.value) > 3
    found = detections(result)
    np.testing.assert_array_equal(found.xyxy, [one["box"] for one in result.value])
    np.testing.assert_array_equal(found.confidence, scores(result))
    np.testing.assert_array_equal(found.class_id, [one["class_id"] for one in result.value])
    names = found.data["class_name"]
    np.testing.assert_array_equal(names, [one["label"] for one in result.value])
    assert set(names) <= set(LABELS)
    assert found.confidence is not None
    best = found[found.confidence > np.median(found.confidence)]
    assert isinstance(best, sv.Detections)
    assert 0 < len(best) < len(found)
    assert (found.mask is not None) == (task == "segment")
    assert ("xyxyxyxy" in found.data) == (task == "obb")


def test_masks_are_dense(model: Callable[[Task], LoadedModel]) -> None:
    result = model("segment").predict(pictures())[0]
    mask = detections(result).mask
    assert isinstance(mask, np.ndarray)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(result.value), *SIZE_WH[::-1])
    for drawn, one in zip(mask, result.value, strict=True):
        rle = masks.Rle(tuple(one["mask"]["size"]), one["mask"]["counts"])
        np.testing.assert_array_equal(drawn, masks.decode(rle))


def test_rotated_boxes_are_corners_as_its_annotator_wants(
    model: Callable[[Task], LoadedModel],
) -> None:
    result = model("obb").predict(pictures())[0]
    found = detections(result)
    expected = corners(np.array([one["obb"] for one in result.value]))
    np.testing.assert_allclose(np.asarray(found.data["xyxyxyxy"], float), expected, atol=1e-3)
    scene = np.zeros((*SIZE_WH[::-1], 3), np.uint8)
    drawn = sv.OrientedBoxAnnotator(thickness=1).annotate(scene.copy(), found)
    assert np.asarray(drawn).any()


def test_keypoints_are_key_points(model: Callable[[Task], LoadedModel]) -> None:
    result = model("pose").predict(pictures())[0]
    found = result.to_key_points()
    assert isinstance(found, sv.KeyPoints)
    points = np.array([one["keypoints"] for one in result.value], np.float32)
    np.testing.assert_array_equal(found.xy, points[..., :2])
    np.testing.assert_array_equal(found.keypoint_confidence, points[..., 2])
    np.testing.assert_array_equal(found.detection_confidence, scores(result))
    assert found.data["class_name"][0] in LABELS
    scene = np.zeros((*SIZE_WH[::-1], 3), np.uint8)
    assert np.asarray(sv.VertexAnnotator(radius=2).annotate(scene, found)).any()
    with pytest.raises(UserError, match="no keypoints"):
        model("detect").predict(pictures())[0].to_key_points()


def test_classes_are_classifications(model: Callable[[Task], LoadedModel]) -> None:
    results = model("classify").predict(pictures())
    found = results.to_supervision()[2]
    assert isinstance(found, sv.Classifications)
    value = results[2].value
    np.testing.assert_array_equal(found.class_id, [one["class_id"] for one in value])
    np.testing.assert_array_equal(found.confidence, scores(results[2]))


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
def test_nothing_found_is_no_objects(model: Callable[[Task], LoadedModel], task: Task) -> None:
    field = model(task).model.output
    image = pictures()[0]
    nothing: tuple[Any, ...] = ([], None)
    for value in nothing:
        result = Result(value, field, image, SIZE_WH)
        assert len(result.to_supervision()) == 0
        assert np.array_equal(np.asarray(result.draw()), np.asarray(image))
    if task == "pose":
        assert len(Result([], field, image, SIZE_WH).to_key_points()) == 0


def test_results_are_a_sequence(model: Callable[[Task], LoadedModel], tmp_path: Path) -> None:
    images = pictures()
    images[1].save(tmp_path / "one.png")
    results = model("detect").predict([images[0], tmp_path / "one.png", np.asarray(images[2])])
    assert (len(results), results.column.type) == (3, model("detect").model.output.type)
    assert [one.value for one in results] == results.column.to_pylist()
    assert results[-1].value == results[2].value
    tail = results[1:]
    assert isinstance(tail, Results)
    assert tail.column.to_pylist() == results.column.to_pylist()[1:]
    assert tail[0].picture == tmp_path / "one.png"
    with pytest.raises(IndexError):
        results[3]
    assert repr(results) == "<Results: detections of 3 pictures>"
    table = results.to_table()
    assert table["uri"].to_pylist() == [None, str(tmp_path / "one.png"), None]
    assert table["width"].to_pylist() == [120] * 3
    assert table["detections"].combine_chunks().equals(results.column)


def test_a_result_is_drawn_over_its_picture(
    model: Callable[[Task], LoadedModel], tmp_path: Path
) -> None:
    image = pictures()[0]
    image.save(tmp_path / "one.png")
    results = model("segment").predict([image, str(tmp_path / "one.png")])
    first, second = results.draw()
    expected = paint(np.asarray(image), results[0].value)
    np.testing.assert_array_equal(np.asarray(first), expected)
    np.testing.assert_array_equal(np.asarray(second), expected)
    assert results[0].draw(max_side=60).size == (60, 40)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.string(), "a cat on a sofa"),
        (CAPTIONS, [{"text": "a cat", "score": 0.5, "prompt": ""}]),
    ],
)
def test_texts_are_written(kind: pa.DataType, value: Any) -> None:
    image = Image.new("RGB", SIZE_WH)
    result = Result(value, pa.field("caption", kind), image, SIZE_WH)
    assert np.asarray(result.draw())[:20].any()
    with pytest.raises(UserError, match="no objects, and no classes"):
        result.to_supervision()


def test_classes_are_written(model: Callable[[Task], LoadedModel]) -> None:
    image = Image.new("RGB", SIZE_WH)
    drawn = model("classify").predict(image)[0].draw()
    assert np.asarray(drawn)[:20].any()


def test_a_vector_cannot_be_drawn() -> None:
    field = pa.field("embedding", embedding_type(4))
    result = Result([0.5] * 4, field, Image.new("RGB", SIZE_WH), SIZE_WH)
    with pytest.raises(UserError, match="which cannot be drawn"):
        result.draw()
