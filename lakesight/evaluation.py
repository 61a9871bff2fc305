"""How good a model is on labelled pictures: the same for a model folder and one in training.

Every picture goes the way that `annotate` takes it: bytes, view, network, column.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lakesight import masks
from lakesight.errors import UserError
from lakesight.media.decode import MediaError
from lakesight.metrics import (
    COCO_SIGMAS,
    Bootstrap,
    ClassEvaluator,
    ClassificationResult,
    DetectionEvaluator,
    DetectionResult,
    MultiLabelEvaluator,
    MultiLabelResult,
    Predictions,
    Truth,
    predictions_from_table,
)
from lakesight.metrics.objects import Task as Shape
from lakesight.models.look import Looking, look
from lakesight.polygons import encode_polygons
from lakesight.training.datasets import Labelled, Pictures, Task
from lakesight.training.losses import SIGMA
from lakesight.training.sample import quads_to_xywhr

Result = DetectionResult | ClassificationResult | MultiLabelResult

SHAPES: dict[Task, tuple[Shape, ...]] = {
    "detect": ("box",),
    "segment": ("box", "mask"),
    "pose": ("box", "keypoints"),
    "obb": ("rotated",),
}
"""What of an object is compared with its truth."""

OPTIONS = {"score_threshold": 0.001, "iou_threshold": 0.7, "max_detections": 300}
"""Of a detector that is to be judged: average precision wants what is unlikely, too."""
BATCH = 16


@dataclass(frozen=True)
class Evaluation:
    """The results by what was compared: `box`, `mask`, `keypoints`, `rotated`, or `classes`."""

    results: Mapping[str, Result]

    @property
    def fitness(self) -> float:
        """One number to compare two models by: mAP50-95, top-1, or mAP of several classes.

        Of the shape that the task is about: of a segment model the masks.
        """
        result = list(self.results.values())[-1]
        value = result.top1 if isinstance(result, ClassificationResult) else result.map
        return 0.0 if np.isnan(value) else value

    def figures(self) -> dict[str, float]:
        """Return the main figures by name, such as `box/map50`, and `fitness`; none is NaN."""
        found: dict[str, float] = {}
        for name, result in self.results.items():
            for figure in ("map", "map50", "top1", "top5", "macro_f1"):
                value = getattr(result, figure, None)
                if value is not None and not np.isnan(value):
                    found[f"{name}/{figure}"] = float(value)
        return found | {"fitness": self.fitness}

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        results = {name: result.to_dict() for name, result in self.results.items()}
        return {"fitness": self.fitness, "results": results}

    def table(self) -> str:
        """Return the results as plain text."""
        return "\n\n".join(result.table() for result in self.results.values())


def evaluate(
    model: Looking, dataset: Pictures, bootstrap: Bootstrap | None = None, batch_size: int = BATCH
) -> Evaluation:
    """Look at every picture of the dataset with the model, and compare with what is on it.

    Classes are matched by name: those that the dataset lacks do not count, and of those that the
    model lacks nothing is found. Raises UserError where a picture cannot be read.
    """
    if dataset.task == "classify":
        return Evaluation({"classes": _classes(model, dataset, bootstrap, batch_size)})
    evaluators = {shape: _evaluator(dataset, shape) for shape in SHAPES[dataset.task]}
    for pictures, found in _looked_at(model, dataset, batch_size):
        truths = [truth_of(one, dataset.task) for one in pictures]
        names = pa.array([one.picture for one in truths], pa.string())
        table = pa.table({"uri": names, "detections": found})
        predictions = predictions_from_table(table, dataset.labels, unknown="drop")
        for shape, evaluator in evaluators.items():
            evaluator.update(truths, [_complete(one, shape) for one in predictions])
    return Evaluation({shape: one.result(bootstrap) for shape, one in evaluators.items()})


def truth_of(picture: Labelled, task: Task) -> Truth:
    """Return what is on a picture, in its own pixels."""
    width, height = picture.size_wh
    quads = picture.quads if task == "obb" else None
    return Truth(
        str(picture.path),
        picture.class_ids,
        boxes_xyxy=picture.boxes_xyxy.astype(np.float64),
        masks=np.array([_rle(one, height, width) for one in picture.shapes], object)
        if task == "segment"
        else None,
        keypoints=_doubles(picture.keypoints) if task == "pose" else None,
        boxes_xywhr=None if quads is None else _doubles(quads_to_xywhr(quads)),
    )


def _doubles(values: Any) -> Any:
    return None if values is None else values.astype(np.float64)


def _rle(shape: Any, height: int, width: int) -> masks.Rle:
    if isinstance(shape, Mapping):
        return masks.Rle(tuple(shape["size"]), shape["counts"])
    return encode_polygons(shape, height, width)


def _evaluator(dataset: Pictures, shape: Shape) -> DetectionEvaluator:
    """Return an evaluator with the published sigmas of 17 keypoints, and the loss's of others."""
    counts = {one.keypoints.shape[1] for one in dataset.pictures if one.keypoints is not None}
    number = max(counts, default=len(COCO_SIGMAS))
    sigmas = COCO_SIGMAS if number == len(COCO_SIGMAS) else (SIGMA,) * number
    return DetectionEvaluator(dataset.labels, shape, sigmas=sigmas)


def _complete(found: Predictions, shape: Shape) -> Predictions:
    """Return the predictions; of a picture where nothing was found, with an empty shape."""
    if len(found) or shape != "keypoints":
        return found
    return Predictions(found.picture, found.class_ids, keypoints=np.zeros((0, 0, 3)))


def _looked_at(
    model: Looking, dataset: Pictures, batch_size: int
) -> Iterator[tuple[Sequence[Labelled], pa.Array]]:
    """Yield pictures and the model's column of them, batch by batch."""
    for start in range(0, len(dataset), batch_size):
        pictures = dataset.pictures[start : start + batch_size]
        try:
            yield pictures, look(model, [one.path for one in pictures])
        except (OSError, MediaError) as error:
            names = ", ".join(str(one.path) for one in pictures)
            raise UserError(f"cannot read one of {names}: {error}") from error


def _classes(
    model: Looking, dataset: Pictures, bootstrap: Bootstrap | None, batch_size: int
) -> ClassificationResult | MultiLabelResult:
    """Judge a classifier: of one class a picture, or where a picture has any number, of several."""
    several = any(len(one.class_ids) != 1 for one in dataset.pictures)
    place = {label: number for number, label in enumerate(dataset.labels)}
    one_class, any_class = ClassEvaluator(dataset.labels), MultiLabelEvaluator(dataset.labels)
    for pictures, found in _looked_at(model, dataset, batch_size):
        names = [str(one.path) for one in pictures]
        scores = np.zeros((len(pictures), len(place)))
        for row, classes in enumerate(found.to_pylist()):
            for one in classes:
                if one["label"] in place:
                    scores[row, place[one["label"]]] = one["score"]
        if several:
            truth = np.zeros_like(scores, bool)
            for row, picture in enumerate(pictures):
                truth[row, picture.class_ids] = True
            any_class.update(names, truth, scores)
        else:
            one_class.update(names, [int(one.class_ids[0]) for one in pictures], scores)
    return any_class.result(bootstrap=bootstrap) if several else one_class.result(bootstrap)
