"""Judging boxes: `DetectionEvaluator` beside faster-coco-eval (C++), from arrays to COCO's numbers.

    python -m benchmarks.metrics [--pictures 5000] [--found 100] [--classes 80] [--rounds 3]

Both run in this process, in turns, on the same random boxes; figures are medians. Ours starts from
arrays, the peer from dicts; `faster_coco_eval_evaluate_s` is the peer without reading those.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from lakesight.metrics import Bootstrap, DetectionEvaluator, Predictions, Truth

Pictures = list[tuple[Truth, Predictions]]


def main() -> None:
    """Run all rounds and print the figures, the last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--found", type=int, default=100)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pictures = random_pictures(options.pictures, options.found, options.classes)
    truth, results = as_coco(pictures, options.classes)
    rounds: list[dict[str, float]] = []
    for number in range(options.rounds):
        seconds, ours = lakesight(pictures, options.classes)
        peer, theirs = faster_coco_eval(truth, results)
        assert np.allclose(ours, theirs, rtol=0, atol=1e-6), (ours, theirs)
        rounds.append({**seconds, **peer})
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(json.dumps({**vars(options), "map": ours[0], **medians}))


def random_pictures(num_pictures: int, num_found: int, num_classes: int) -> Pictures:
    """Return pictures with 7 objects on average, most of them found, and other boxes."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(num_pictures):
        size = min(int(rng.poisson(7)), num_found)
        boxes, ids = random_boxes(rng, size), rng.integers(0, num_classes, size)
        near = boxes + rng.normal(0, 3, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        rest = num_found - size
        found = np.concatenate([near, random_boxes(rng, rest)])
        found_ids = np.concatenate([ids, rng.integers(0, num_classes, rest)])
        scores = np.concatenate([rng.beta(4, 2, size), rng.beta(1, 4, rest)])
        truth = Truth(number + 1, ids, boxes)
        pictures.append((truth, Predictions(truth.picture, found_ids, found, scores=scores)))
    return pictures


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return `(count, 4)` boxes from 8 to 256 px."""
    corner, side = rng.uniform(0, 400, (count, 2)), np.exp2(rng.uniform(3, 8, (count, 2)))
    return np.concatenate([corner, corner + side], axis=1)


def as_coco(pictures: Pictures, num_classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the same as COCO's data set and results."""
    annotations: list[dict[str, Any]] = []
    results = []
    for truth, found in pictures:
        for box, class_id in coco_boxes(truth):
            one = {"image_id": truth.picture, "category_id": class_id, "bbox": box, "iscrowd": 0}
            annotations.append({**one, "id": len(annotations) + 1, "area": box[2] * box[3]})
        for (box, class_id), score in zip(coco_boxes(found), found.scores.tolist(), strict=True):
            one = {"image_id": found.picture, "category_id": class_id, "bbox": box, "score": score}
            results.append(one)
    images = [{"id": truth.picture} for truth, _ in pictures]
    categories = [{"id": number, "name": str(number)} for number in range(1, num_classes + 1)]
    data = {"images": images, "categories": categories, "annotations": annotations}
    return data, results


def coco_boxes(objects: Truth | Predictions) -> list[tuple[list[float], int]]:
    """Return x, y, width and height, and the category, of each object."""
    assert objects.boxes_xyxy is not None
    boxes = objects.boxes_xyxy.copy()
    boxes[:, 2:] -= boxes[:, :2]
    return list(zip(boxes.tolist(), (objects.class_ids + 1).tolist(), strict=True))


def lakesight(pictures: Pictures, num_classes: int) -> tuple[dict[str, float], list[float]]:
    """Return seconds, by part, and COCO's 12 numbers."""
    evaluator = DetectionEvaluator([str(number) for number in range(1, num_classes + 1)])
    start = time.perf_counter()
    for truth, found in pictures:
        evaluator.update(replace(truth), replace(found))  # made and checked anew
    result = evaluator.result()
    judged = time.perf_counter()
    evaluator.result(Bootstrap())
    drawn = time.perf_counter()
    return {"lakesight_s": judged - start, "bootstrap_1000_s": drawn - judged}, result.coco_stats()


def faster_coco_eval(
    truth: dict[str, Any], results: list[dict[str, Any]]
) -> tuple[dict[str, float], list[float]]:
    """Return seconds, by part, and COCO's 12 numbers."""
    start = time.perf_counter()
    known = COCO(truth)
    evaluation = COCOeval_faster(known, known.loadRes(results), "bbox")
    loaded = time.perf_counter()
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    end = time.perf_counter()
    seconds = {"faster_coco_eval_s": end - start, "faster_coco_eval_evaluate_s": end - loaded}
    return seconds, list(evaluation.stats[:12])


if __name__ == "__main__":
    main()
