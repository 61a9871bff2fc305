"""Random COCO data sets full of what is hard, and their figures by faster-coco-eval."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from lakesight import masks
from lakesight.metrics import Task

Annotation = dict[str, Any]
SIZE = 200
IOU_TYPES: dict[Task, str] = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}


def random_coco(
    rng: np.random.Generator,
    *,
    num_pictures: int = 24,
    num_classes: int = 6,
    num_keypoints: int = 17,
    ties: bool = True,
) -> tuple[dict[str, Any], list[Annotation]]:
    """Return a data set and results.

    Coordinates are whole, so that overlaps tie; scores have one decimal if `ties`. Some pictures
    are empty, some truths crowds, some without labelled points; the first class is never there,
    the last never found, and one picture has more detections of a class than are judged.
    """
    truths, found = [], []
    for image_id in range(1, num_pictures + 1):
        here = [
            _truth(rng, image_id, int(category), num_keypoints)
            for category in rng.integers(2, num_classes + 1, rng.choice([0, 0, 1, 4, 12]))
        ]
        truths += here
        found += _found(rng, image_id, here, num_classes, num_keypoints, ties)
    for number, truth in enumerate(truths, start=1):
        truth["id"] = number
    images = [
        {"id": number, "file_name": f"{number:03}.jpg", "width": SIZE, "height": SIZE}
        for number in range(1, num_pictures + 1)
    ]
    names = [f"point {number}" for number in range(num_keypoints)]
    categories = [
        {"id": number, "name": f"class {number}", "keypoints": names, "skeleton": []}
        for number in range(1, num_classes + 1)
    ]
    return {"info": {}, "images": images, "categories": categories, "annotations": truths}, found


def _truth(
    rng: np.random.Generator, image_id: int, category: int, num_keypoints: int
) -> Annotation:
    box = _box(rng)
    points = _points(rng, box, num_keypoints)
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": box.tolist(),
        "area": float(np.floor(box[2] * box[3] * rng.choice([0.5, 0.8, 1]))),
        "iscrowd": int(rng.random() < 0.15),
        "keypoints": points.ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
    }


def _found(
    rng: np.random.Generator,
    image_id: int,
    truths: list[Annotation],
    num_classes: int,
    num_keypoints: int,
    ties: bool,
) -> list[Annotation]:
    """Return copies of truths that are moved a little, and some detections of nothing."""
    copies = [truth for truth in truths for _ in range(int(rng.integers(0, 4)))]
    many = 120 if image_id == 3 else int(rng.integers(0, 6))
    boxes = [np.add(truth["bbox"], rng.integers(-4, 5, 4)) for truth in copies]
    boxes = [np.maximum(box, [0, 0, 2, 2]) for box in boxes]
    boxes += [_box(rng) for _ in range(many)]
    categories = [truth["category_id"] for truth in copies]
    categories += [2 if image_id == 3 else int(rng.integers(1, num_classes)) for _ in range(many)]
    points = [_moved(rng, truth) for truth in copies]
    points += [_points(rng, box, num_keypoints) for box in boxes[len(copies) :]]
    return [
        {
            "image_id": image_id,
            "category_id": category,
            "bbox": box.tolist(),
            "keypoints": keypoints.ravel().tolist(),
            "score": float(np.round(rng.random(), 1 if ties else 12)),
        }
        for category, box, keypoints in zip(categories, boxes, points, strict=True)
        if category < num_classes
    ]


def _box(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return x, y, width, height of a small, medium or large box."""
    low, high = ((4, 40), (30, 100), (90, 180))[int(rng.integers(3))]
    size = rng.integers(low, high, size=2)
    return np.concatenate([rng.integers(0, SIZE - size), size])


def _points(rng: np.random.Generator, box: Any, count: int) -> npt.NDArray[np.int64]:
    """Return `(count, 3)` points in a box; now and then none is labelled."""
    seen = rng.integers(0, 3, count) * (rng.random() < 0.85)
    low, high = np.array(box[:2]), np.add(box[:2], box[2:])
    x, y = rng.integers(low[:, None], high[:, None] + 1, (2, count))
    return np.stack([x, y, seen], axis=1) * (seen[:, None] > 0)


def _moved(rng: np.random.Generator, truth: Annotation) -> npt.NDArray[np.int64]:
    points = np.reshape(truth["keypoints"], (-1, 3)).copy()
    points[:, :2] += rng.integers(-6, 7, points[:, :2].shape)
    return points


def for_task(
    truth: dict[str, Any], found: list[Annotation], task: Task
) -> tuple[dict[str, Any], list[Annotation]]:
    """Return the same with masks, where they are compared, and results with nothing else.

    COCO takes the area of a detection from its box if it has one.
    """
    field = {"box": "bbox", "mask": "segmentation", "rotated": "obb"}.get(task, task)
    if task == "mask":
        truth = {**truth, "annotations": [_with_mask(one) for one in truth["annotations"]]}
        found = [_with_mask(one) for one in found]
    kept = ("image_id", "category_id", "score", field)
    return truth, [{name: one[name] for name in kept} for one in found]


def _with_mask(one: Annotation) -> Annotation:
    """Return an object with the ellipse in its box as its mask."""
    x, y, width, height = one["bbox"]
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    inside = ((columns - x) / width * 2 - 1) ** 2 + ((rows - y) / height * 2 - 1) ** 2 <= 1
    return {**one, "segmentation": masks.encode(inside).as_coco()}


def write(folder: Path, truth: dict[str, Any], found: list[Annotation]) -> tuple[Path, Path]:
    """Write both as COCO's files."""
    paths = folder / "truth.json", folder / "found.json"
    for path, content in zip(paths, (truth, found), strict=True):
        path.write_text(json.dumps(content))
    return paths


def reference(
    truth: dict[str, Any],
    found: list[Annotation],
    task: Task,
    sigmas: tuple[float, ...] | None = None,
) -> COCOeval_faster:
    """Return what faster-coco-eval makes of results."""
    known = COCO(json.loads(json.dumps(truth)))
    evaluation = COCOeval_faster(
        known,
        known.loadRes(json.loads(json.dumps(found))),
        IOU_TYPES[task],
        kpt_oks_sigmas=sigmas and list(sigmas),
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation
