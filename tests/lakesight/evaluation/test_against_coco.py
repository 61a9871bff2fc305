"""From a model folder to figures, against faster-coco-eval; crowds and areas included."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakesight import masks
from lakesight.evaluation import evaluate, to_judge
from lakesight.metrics import DetectionResult
from lakesight.metrics import Task as Shape
from lakesight.models import catalog
from lakesight.models.look import look
from lakesight.models.yolo.architecture import Task
from lakesight.training.yolo.sources import open_data
from tests.coco_data import reference
from tests.yolo_folders import LABELS

NUM_STATS = {"box": 12, "mask": 12, "keypoints": 10}
NUM_KEYPOINTS = 4
Object = Mapping[str, Any]


@pytest.mark.parametrize(
    ("task", "shapes"),
    [("detect", ["box"]), ("segment", ["box", "mask"]), ("pose", ["box", "keypoints"])],
)
def test_every_figure_is_cocos(
    scenes: Path, model: Callable[[Task], str], tmp_path: Path, task: Task, shapes: list[Shape]
) -> None:
    """The labels are what the model finds, moved a little: neither all nor nothing is right."""
    judged = catalog.build(to_judge(catalog.spec(model(task))))
    images = json.loads((scenes / "annotations" / "instances_val.json").read_bytes())["images"]
    folder = scenes / "images" / "val"
    found = look(judged, [folder / each["file_name"] for each in images]).to_pylist()
    labels = labelled(images, found)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    data = open_data(str(tmp_path / "labels.json"), "val", task, images=str(folder))
    result = evaluate(judged, data, batch_size=5)
    assert list(result.results) == shapes
    for shape in shapes:
        sigmas = (1 / NUM_KEYPOINTS,) * NUM_KEYPOINTS if shape == "keypoints" else None
        expected = reference(labels, results(images, found, shape), shape, sigmas).stats
        assert np.ptp(expected) > 0.1  # neither trivial nor hopeless
        figures = result.results[shape]
        assert isinstance(figures, DetectionResult)
        np.testing.assert_allclose(
            figures.coco_stats(), expected[: NUM_STATS[shape]], rtol=0, atol=1e-6
        )


def labelled(images: list[Object], found: list[list[Object]]) -> dict[str, Any]:
    """Return a COCO data set of some of the found objects, moved; some are crowds."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    for image, objects in zip(images, found, strict=True):
        for number in rng.choice(min(60, len(objects)), 8, replace=False):
            one = objects[number]
            moved = np.reshape(one["box"], (2, 2)) + rng.normal(0, 8, (2, 2))
            low, high = np.clip(moved, 0, 160)
            size = np.maximum(high - low, 5)
            low = np.minimum(low, 160 - size)
            keypoints = keypoints_of(one, rng)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": one["class_id"] + 1,
                    "bbox": [*np.round(low, 2).tolist(), *np.round(size, 2).tolist()],
                    "area": float(rng.choice([400, 3000, 12000])),  # not that of the box
                    "iscrowd": int(rng.random() < 0.2),
                    "segmentation": mask_of(one, rng),
                    "keypoints": keypoints,
                    "num_keypoints": sum(seen > 0 for seen in keypoints[2::3]),
                }
            )
    points = [f"point {number}" for number in range(NUM_KEYPOINTS)]
    categories = [
        {"id": number, "name": label, "keypoints": points, "skeleton": []}
        for number, label in enumerate(LABELS, 1)
    ]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def mask_of(one: Object, rng: np.random.Generator) -> dict[str, Any]:
    """Return the mask of an object, or of its box, moved; crowds have run lengths as numbers."""
    if "mask" in one:
        mask = masks.decode(masks.Rle(tuple(one["mask"]["size"]), one["mask"]["counts"]))
    else:
        mask = np.zeros((160, 160), bool)
        mask[0, 0] = True
    moved = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
    rle = masks.encode(moved).as_coco()
    is_plain = rng.random() < 0.5
    return {**rle, "counts": masks.decompress(rle["counts"]).tolist()} if is_plain else rle


def keypoints_of(one: Object, rng: np.random.Generator) -> list[float]:
    """Return the keypoints of an object, moved; some are not labelled, none outside."""
    points = np.array(one.get("keypoints", np.zeros((NUM_KEYPOINTS, 3))))
    points[:, :2] += rng.normal(0, 6, (NUM_KEYPOINTS, 2))
    points[:, 2] = rng.choice([0, 1, 2], NUM_KEYPOINTS) * (rng.random() < 0.9)
    points[:, 2] *= ((points[:, :2] >= 0) & (points[:, :2] <= 160)).all(1)
    return [float(value) for value in points.ravel()]


def results(images: list[Object], found: list[list[Object]], shape: Shape) -> list[dict[str, Any]]:
    """Return what was found as COCO's results."""
    listed = []
    for image, objects in zip(images, found, strict=True):
        for one in objects:
            left, top, right, bottom = one["box"]
            fields: dict[str, Any] = {"bbox": [left, top, right - left, bottom - top]}
            if shape == "mask":
                fields = {"segmentation": one["mask"]}
            if shape == "keypoints":
                fields["keypoints"] = [value for point in one["keypoints"] for value in point]
            known = {"image_id": image["id"], "category_id": one["class_id"] + 1}
            listed.append({**known, **fields, "score": one["score"]})
    return listed
