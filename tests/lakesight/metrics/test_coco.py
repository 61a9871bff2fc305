"""COCO's files: what is read of them, and what is refused. Figures: `test_against_coco.py`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference

from lakesight.errors import UserError
from lakesight.masks import decode
from lakesight.metrics import load_coco, load_coco_results
from lakesight.training.yolo.coco import open_coco

TRIANGLE = [10.0, 10.0, 30.0, 10.0, 10.0, 40.0]


def truth() -> dict[str, Any]:
    common = {"image_id": 7, "bbox": [1, 2, 3.5, 4], "area": 9.5}
    return {
        "images": [
            {"id": 7, "file_name": "a/x.jpg", "width": 60, "height": 50},
            {"id": 3, "file_name": "b/x.jpg", "width": 60, "height": 50},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {
                **common,
                "category_id": 90,
                "segmentation": [TRIANGLE],
                "keypoints": [1, 2, 0, 4, 5, 2],
            },
            {
                **common,
                "category_id": 2,
                "iscrowd": 1,
                "segmentation": {"size": [50, 60], "counts": [100, 50, 2850]},
                "keypoints": [1, 2, 1, 4, 5, 1],
            },
        ],
    }


def write(folder: Path, content: Any, name: str = "truth.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_categories_images_and_boxes(tmp_path: Path) -> None:
    known = load_coco(write(tmp_path, truth()))
    assert known.labels == ("cat", "dog")
    assert [one.picture for one in known.truths] == ["a/x.jpg", "b/x.jpg"]
    first, second = known.truths
    assert first.class_ids.tolist() == [1, 0]
    assert first.crowd.tolist() == [False, True]
    assert first.boxes_xyxy is not None
    assert first.boxes_xyxy.tolist() == [[1, 2, 4.5, 6]] * 2
    assert first.areas is not None
    assert first.areas.tolist() == [9.5, 9.5]
    assert len(second) == 0
    assert load_coco(write(tmp_path, truth()), key="id").truths[1].picture == 3


def test_polygons_and_run_lengths_become_masks(tmp_path: Path) -> None:
    first = load_coco(write(tmp_path, truth()), "mask").truths[0]
    assert first.masks is not None
    drawn = reference.decode(reference.merge(reference.frPyObjects([TRIANGLE], 50, 60)))
    np.testing.assert_array_equal(decode(first.masks[0]), drawn.astype(bool))
    pixels = decode(first.masks[1]).T.ravel()
    assert np.flatnonzero(pixels).tolist() == list(range(100, 150))


def test_keypoints(tmp_path: Path) -> None:
    first = load_coco(write(tmp_path, truth()), "keypoints").truths[0]
    assert first.keypoints is not None
    assert first.keypoints[0].tolist() == [[1, 2, 0], [4, 5, 2]]


def test_results_come_for_every_picture(tmp_path: Path) -> None:
    known = load_coco(write(tmp_path, truth()))
    result = {"image_id": 3, "category_id": 90, "bbox": [0, 0, 2, 3], "score": 0.5}
    first, second = load_coco_results(write(tmp_path, [result], "found.json"), known)
    assert (first.picture, len(first)) == ("a/x.jpg", 0)
    assert (second.picture, second.class_ids.tolist(), second.scores.tolist()) == (
        "b/x.jpg",
        [1],
        [0.5],
    )


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"image_id": 8, "category_id": 90, "score": 1}, "image 8"),
        ({"image_id": 3, "category_id": 1, "score": 1}, "category 1"),
        ({"image_id": 3, "category_id": 90}, "score: Field required"),
        ({"image_id": 3, "category_id": 90, "score": 1}, "bbox"),
        ({"image_id": 3, "category_id": 90, "bbox": [0, 0, 1, 1], "score": float("nan")}, "NaN"),
    ],
)
def test_results_that_do_not_fit_are_refused(
    result: dict[str, Any], message: str, tmp_path: Path
) -> None:
    known = load_coco(write(tmp_path, truth()))
    with pytest.raises(UserError, match=message):
        load_coco_results(write(tmp_path, [result], "found.json"), known)


def test_files_that_are_no_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_coco(tmp_path / "missing.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(UserError, match=r"broken\.json as JSON"):
        load_coco(broken)
    with pytest.raises(UserError, match="it lacks annotations, categories, images"):
        load_coco(write(tmp_path, []))
    with pytest.raises(UserError, match="list of results"):
        load_coco_results(write(tmp_path, {}), load_coco(write(tmp_path, truth(), "b.json")))


def test_annotations_without_what_the_task_needs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="obb"):
        load_coco(write(tmp_path, truth()), "rotated")
    sizeless = truth()
    del sizeless["images"][0]["height"]
    with pytest.raises(UserError, match=r"images\.0\.height: Field required"):
        load_coco(write(tmp_path, sizeless), "mask")


def test_who_trains_and_who_judges_read_one_file_alike(tmp_path: Path) -> None:
    """Of both, the same is refused: here an id that two images have."""
    twice = truth()
    twice["images"][1]["id"] = 7
    with pytest.raises(UserError, match="two of the `images` have the id 7"):
        load_coco(write(tmp_path, twice))
    with pytest.raises(UserError, match="two of the `images` have the id 7"):
        open_coco(tmp_path / "truth.json", tmp_path, "detect", local=False)
