"""The family `yolo`: folders to models, and what they say of pictures, against a slow reading."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from lakesight import masks
from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import Image, Licences, Model, ModelCard
from lakesight.models.look import look
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.folder import Contract, save, view_of
from lakesight.models.yolo.network import Inference
from lakesight.schemas import CLASSES, detection_type

from .test_network import TASKS, small

TYPES: dict[Task, pa.DataType] = {
    "detect": detection_type(),
    "segment": detection_type(masks=True),
    "pose": detection_type(keypoints=True),
    "obb": detection_type(angles=True),
    "classify": CLASSES,
}
LABELS = ("cat", "dog", "bird")
SIDE = 96
Array = npt.NDArray[Any]


def folder(path: Path, task: Task, **more: Any) -> ModelCard:
    """Write a small network as a model folder."""
    network = small(task, **more)
    return save(
        path,
        network.state_dict(),
        Contract(**network.architecture.model_dump()),
        name="mine",
        labels=LABELS,
        view=view_of(network.architecture, SIDE),
        licences=Licences(weights="Apache-2.0", data="CC0-1.0"),
        provenance="Random weights, made by a test.",
    )


def build(path: Path, task: Task, more: dict[str, Any] | None = None, **options: Any) -> Model:
    folder(path, task, **(more or {}))
    return catalog.build(catalog.spec(str(path), options=options, runtime="torch"))


def views(count: int) -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(count)]


def told(task: Task, images: list[Image], **more: Any) -> list[Array]:
    """Return the decoded tensors by torch alone, BatchNorm not folded."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return [tensor.numpy() for tensor in Inference(small(task, **more))(batch)]


def rows(count: int, width: int = SIDE, height: int = SIDE) -> pa.Table:
    return pa.table({"width": [width] * count, "height": [height] * count})


@pytest.mark.parametrize("task", TASKS)
def test_a_model_is_what_the_protocol_says(task: Task, tmp_path: Path) -> None:
    model = build(tmp_path / "mine", task)
    assert isinstance(model, Model)
    assert model.runs_on.startswith("torch on ")
    values = model.predict(views(2), rows(2))
    values.validate(full=True)
    assert values.type == model.output.type == TYPES[task]
    assert len(values) == 2
    assert model.predict([], rows(0)).type == model.output.type


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_the_best_objects_are_the_best_anchors(task: Task, tmp_path: Path) -> None:
    """With no suppression and no threshold, objects are anchors by falling score."""
    options: dict[str, Any] = {"score_threshold": 0, "iou_threshold": 1, "max_detections": 7}
    model = build(tmp_path / "mine", task, **options)
    images = views(2)
    tensors = told(task, images)
    for found, output in zip(model.predict(images, rows(2)).to_pylist(), tensors[0], strict=True):
        cx, cy, width, height = output[:4]
        best = output[4:7].max(axis=0)
        if task != "obb":
            visible = (np.clip(cx + width / 2, 0, SIDE) > np.clip(cx - width / 2, 0, SIDE)) & (
                np.clip(cy + height / 2, 0, SIDE) > np.clip(cy - height / 2, 0, SIDE)
            )
            assert visible.all()
        order = np.argsort(-best, kind="stable")[:7]
        assert [one["score"] for one in found] == pytest.approx(best[order].tolist(), rel=1e-3)
        assert [one["label"] for one in found] == [
            LABELS[number] for number in output[4:7, order].argmax(axis=0)
        ]


def test_boxes_are_those_of_the_anchors(tmp_path: Path) -> None:
    model = build(tmp_path / "mine", "detect", score_threshold=0, max_detections=1)
    image = views(1)
    (output,) = told("detect", image)[0]
    cx, cy, width, height = output[:4, output[4:].max(axis=0).argmax()]
    corners = np.array([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
    (found,) = model.predict(image, rows(1, SIDE * 2, SIDE * 2)).to_pylist()[0]
    assert found["box"] == pytest.approx((corners.clip(0, SIDE) * 2).tolist(), abs=0.05)


def test_masks_are_inside_their_boxes_and_of_the_originals_size(tmp_path: Path) -> None:
    model = build(tmp_path / "mine", "segment", score_threshold=0, max_detections=20)
    found = model.predict(views(1), rows(1, 200, 100)).to_pylist()[0]
    areas = []
    for one in found:
        assert one["mask"]["size"] == [100, 200]
        mask = masks.decode(masks.Rle((100, 200), one["mask"]["counts"]))
        left, top, right, bottom = one["box"]
        y, x = np.mgrid[:100, :200] + 0.5
        outside = (x < left) | (x > right) | (y < top) | (y > bottom)
        assert not mask[outside].any()
        areas.append(int(mask.sum()))
    assert max(areas) > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_keypoints_are_as_many_as_the_contract_says(dims: int, tmp_path: Path) -> None:
    more = {"num_keypoints": 5, "keypoint_dims": dims}
    model = build(tmp_path / "mine", "pose", more, score_threshold=0, max_detections=1)
    image = views(1)
    (output,) = told("pose", image, **more)[0]
    values = output[7:, output[4:7].max(axis=0).argmax()].reshape(5, dims)
    (found,) = model.predict(image, rows(1)).to_pylist()[0]
    points = np.array(found["keypoints"])
    np.testing.assert_allclose(points[:, :dims], values, atol=0.05, rtol=1e-3)
    assert dims == 3 or (points[:, 2] == 1).all()


def test_rotated_boxes_are_those_of_the_anchors(tmp_path: Path) -> None:
    model = build(tmp_path / "mine", "obb", score_threshold=0, max_detections=1)
    image = views(1)
    (output,) = told("obb", image)[0]
    best = output[:, output[4:7].max(axis=0).argmax()]
    (found,) = model.predict(image, rows(1)).to_pylist()[0]
    wanted = [*best[:4].tolist(), float(best[-1])]
    assert found["obb"] == pytest.approx(wanted, abs=0.05, rel=1e-3)


def test_one_class_or_several(tmp_path: Path) -> None:
    image = views(1)
    one = build(tmp_path / "one", "classify", top_k=3).predict(image, rows(1)).to_pylist()[0]
    assert sum(entry["score"] for entry in one) == pytest.approx(1, abs=1e-5)
    scores = [entry["score"] for entry in one]
    assert scores == sorted(scores, reverse=True)
    more = {"multi_label": True}
    own = told("classify", image, **more)[0][0]
    middle = float(np.sort(own)[1])
    several = build(tmp_path / "several", "classify", more, score_threshold=middle - 1e-4)
    found = several.predict(image, rows(1)).to_pylist()[0]
    wanted = {LABELS[i]: own[i] for i in np.flatnonzero(own >= middle - 1e-4)}
    assert {entry["label"]: entry["score"] for entry in found} == pytest.approx(wanted, abs=1e-4)
    assert len(found) == 2


def test_a_picture_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    model = build(tmp_path / "mine", "segment", score_threshold=0, max_detections=3)
    images = views(3)
    together = model.predict(images, rows(3)).to_pylist()
    assert [model.predict([one], rows(1)).to_pylist()[0] for one in images] == together


def test_pictures_of_any_size_can_be_looked_at(tmp_path: Path) -> None:
    model = build(tmp_path / "mine", "obb", score_threshold=0, max_detections=2)
    found = look(model, [np.zeros((50, 300, 3), np.uint8)])
    assert found.type == detection_type(angles=True)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder(tmp_path / "mine", "detect")
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    card["contract"]["num_classes"] = 4
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="tells 4 classes, but 3 labels"):
        catalog.build(catalog.spec(str(tmp_path / "mine")))
    card["labels"] = ["a", "b", "c", "d"]
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"expected model\.22\.cv3\.0\.2\.weight \(4, .*got \(3,"):
        catalog.build(catalog.spec(str(tmp_path / "mine")))


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "mine", "detect")
    with pytest.raises(
        UserError, match=r"it has no export for that \(exports: none.*lakesight export"
    ):
        catalog.build(catalog.spec(str(tmp_path / "mine"), runtime="openvino"))


def test_labels_that_are_too_few_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    folder(tmp_path / "mine", "detect")
    with pytest.raises(UserError, match="is not empty"):
        folder(tmp_path / "mine", "detect")
    with pytest.raises(UserError, match="4 classes, but 3 labels"):
        folder(tmp_path / "other", "detect", num_classes=4)


def test_numbers_that_are_not_finite_are_an_error_not_an_empty_picture(tmp_path: Path) -> None:
    card = folder(tmp_path / "mine", "detect")
    path = tmp_path / "mine" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.22.cv3.0.2.bias"][0] = float("nan")
    save_file(tensors, path)
    from lakesight.models.yolo.model import Yolo
    from lakesight.models.yolo.reading import YoloOptions

    model = Yolo(card, tmp_path / "mine", YoloOptions(), "torch")
    with pytest.raises(ValueError, match="not finite"):
        model.predict(views(1), rows(1))


def test_bfloat16_scores_nearly_the_same(tmp_path: Path) -> None:
    options: dict[str, Any] = {"score_threshold": 0, "max_detections": 1}
    exact = build(tmp_path / "a", "detect", **options).predict(views(1), rows(1)).to_pylist()
    rough = build(tmp_path / "b", "detect", precision="bf16", **options)
    found = rough.predict(views(1), rows(1)).to_pylist()
    assert found[0][0]["score"] == pytest.approx(exact[0][0]["score"], rel=0.1)
