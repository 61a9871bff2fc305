"""Order, sharing and merging must not matter; what cannot be judged is refused."""

import json
import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.masks import encode
from lakesight.metrics import DetectionEvaluator, DetectionResult, Predictions, Truth

LABELS = ("cat", "dog", "bus")


def random_pictures(seed: int, count: int) -> list[tuple[Truth, Predictions]]:
    """Return pictures with boxes of whole numbers and scores of one decimal: full of ties."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number in range(count):
        size = int(rng.integers(0, 6))
        corner = rng.integers(0, 200, (size, 2))
        whole = np.concatenate([corner, corner + rng.integers(5, 120, (size, 2))], axis=1)
        ids = rng.integers(0, 3, size)
        boxes = whole.astype(np.float64)
        moved = np.repeat(boxes, 2, axis=0) + rng.integers(-3, 4, (2 * size, 4))
        truth = Truth(
            f"{number:03}.jpg", ids, boxes, slices={"camera": "north" if number % 3 else "south"}
        )
        scores = np.round(rng.random(2 * size), 1)
        found_ids = np.where(rng.random(2 * size) < 0.2, 0, np.repeat(ids, 2))
        pictures.append((truth, Predictions(truth.picture, found_ids, moved, scores=scores)))
    return pictures


def evaluate(pictures: Iterable[tuple[Truth, Predictions]]) -> DetectionEvaluator:
    evaluator = DetectionEvaluator(LABELS)
    for truth, found in pictures:
        evaluator.update(truth, found)
    return evaluator


def figures(result: DetectionResult) -> Any:
    return result.to_dict(curves=True)


def test_pictures_may_come_in_any_order_and_size() -> None:
    pictures = random_pictures(0, 30)
    expected = figures(evaluate(pictures).result())
    assert 0.2 < expected["map"] < 0.9
    shuffled = [pictures[index] for index in np.random.default_rng(1).permutation(30)]
    assert figures(evaluate(shuffled).result()) == expected
    at_once = DetectionEvaluator(LABELS)
    truths, predictions = zip(*pictures, strict=True)
    at_once.update(truths, reversed(predictions))
    assert figures(at_once.result()) == expected


def test_figures_on_the_way_change_nothing() -> None:
    pictures = random_pictures(0, 30)
    evaluator = evaluate(pictures[:10])
    evaluator.result()
    for truth, found in pictures[10:]:
        evaluator.update(truth, found)
    assert figures(evaluator.result()) == figures(evaluate(pictures).result())


def test_workers_add_up_to_one() -> None:
    pictures = random_pictures(0, 30)
    shares = [pickle.loads(pickle.dumps(evaluate(pictures[start::3]))) for start in (2, 0, 1)]
    shares[0].merge(shares[1])
    shares[0].merge(shares[2])
    assert len(shares[0]) == 30
    assert figures(shares[0].result()) == figures(evaluate(pictures).result())
    assert figures(shares[1].result()) == figures(evaluate(pictures[0::3]).result())


def test_a_slice_is_an_evaluation_of_its_pictures() -> None:
    pictures = random_pictures(0, 30)
    slices = evaluate(pictures).slices("camera")
    assert sorted(slices) == ["north", "south"]
    for kind, result in slices.items():
        share = [pair for pair in pictures if pair[0].slices["camera"] == kind]
        assert figures(result) == figures(evaluate(share).result())


def test_figures_are_json_and_text() -> None:
    result = evaluate(random_pictures(0, 10)).result()
    figures = json.loads(json.dumps(result.to_dict(curves=True), allow_nan=False))
    assert figures["map"] == result.map
    assert figures["classes"][1]["best"]["f1"] == result.classes[1].best.f1
    lines = result.table().splitlines()
    assert [line.split()[0] for line in lines[-3:]] == list(LABELS)
    assert f"{result.map:.3f}" in lines[3]


def test_nothing_at_all_has_no_figures() -> None:
    result = DetectionEvaluator(LABELS).result()
    assert np.isnan(result.map)
    assert result.coco_stats() == [-1] * 12
    assert result.to_dict()["map"] is None
    assert "0 pictures" in result.table()


def test_truth_that_is_missed_and_finds_where_nothing_is() -> None:
    evaluator = DetectionEvaluator(LABELS)
    found = Predictions("b", np.array([1]), BOX, scores=np.array([0.9]))
    evaluator.update(Truth("a", np.array([0]), BOX), Predictions.nothing("a"))
    evaluator.update(Truth("b", np.zeros(0, int)), found)
    result = evaluator.result()
    assert result.map == 0
    assert [one.num_found for one in result.classes] == [0, 1, 0]
    assert np.isnan(result.classes[1].ap)


BOX = np.array([[1.0, 2, 30, 40]])
TRUTH = Truth("a.jpg", np.array([0]), BOX)
FOUND = Predictions("a.jpg", np.array([0]), BOX, scores=np.array([0.5]))


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ([TRUTH], [], "no predictions for 1 pictures such as 'a.jpg'"),
        ([], [FOUND], "predictions without truth"),
        ([TRUTH], [Predictions.nothing("s3://bucket/a.jpg")], "no predictions"),
        ([TRUTH, TRUTH], [FOUND], "twice"),
        ([TRUTH], [Predictions("a.jpg", np.array([3]), BOX, scores=np.array([1]))], "class 3"),
        ([Truth("a.jpg", np.array([0]))], [FOUND], "boxes_xyxy"),
    ],
)
def test_what_does_not_pair_up_is_refused(truth: Any, found: Any, message: str) -> None:
    evaluator = DetectionEvaluator(LABELS)
    with pytest.raises(UserError, match=message):
        evaluator.update(truth, found)
    assert len(evaluator) == 0


def test_a_picture_counts_once() -> None:
    evaluator = evaluate([(TRUTH, FOUND)])
    with pytest.raises(UserError, match=r"'a\.jpg' came again"):
        evaluator.update(TRUTH, FOUND)
    with pytest.raises(UserError, match="came again"):
        evaluator.merge(evaluate([(TRUTH, FOUND)]))
    assert evaluator.result().num_truth == 1


def test_other_rules_are_not_merged() -> None:
    with pytest.raises(UserError, match="differ in labels, confusion_iou"):
        evaluate([]).merge(DetectionEvaluator(("cat",), confusion_iou=0.3))


def test_a_slice_that_no_picture_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"no picture has the slice 'weather'.*camera"):
        evaluate(random_pictures(0, 3)).slices("weather")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "boxes"}, "task must be one of box, mask"),
        ({"labels": ()}, "labels"),
        ({"labels": ("a", "a")}, "labels"),
        ({"max_detections": (10, 1)}, "rise"),
        ({"task": "keypoints", "sigmas": (0.1, 0)}, "above 0"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DetectionEvaluator(**{"labels": LABELS, **options})


def test_keypoints_need_a_sigma_each() -> None:
    points = np.zeros((1, 3, 3))
    with pytest.raises(UserError, match="3 keypoints an object, but there are 17 sigmas"):
        DetectionEvaluator(LABELS, "keypoints").update(
            Truth("a.jpg", np.array([0]), keypoints=points), Predictions.nothing("a.jpg")
        )


def test_masks_of_two_sizes_are_refused() -> None:
    def masks(width: int) -> Any:
        return [encode(np.ones((4, width), bool))]

    with pytest.raises(UserError, match="one size"):
        DetectionEvaluator(LABELS, "mask").update(
            Truth("a.jpg", np.array([0]), masks=masks(5)),
            Predictions("a.jpg", np.array([0]), masks=masks(6), scores=np.array([1.0])),
        )
