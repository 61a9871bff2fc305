"""The model family `yolo`: boxes, masks, keypoints, rotated boxes or classes of pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from lakesight.errors import UserError
from lakesight.models.artefact import read_labels
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.detection import Found, NmsOptions, sizes, to_arrow
from lakesight.models.pretrained import require_torch
from lakesight.models.yolo import columns, decode
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.models.yolo.network import check_size, for_inference, load_network
from lakesight.runtimes.base import Network, place
from lakesight.runtimes.torch import TorchModule
from lakesight.schemas import CLASSES, detection_type

Floats = npt.NDArray[np.float32]
SizeWH = tuple[int, int]

OUTPUTS: dict[Task, pa.Field] = {
    "detect": pa.field("detections", detection_type()),
    "segment": pa.field("detections", detection_type(masks=True)),
    "pose": pa.field("detections", detection_type(keypoints=True)),
    "obb": pa.field("detections", detection_type(angles=True)),
    "classify": pa.field("classes", CLASSES),
}


class YoloOptions(NmsOptions):
    """What to keep of what a YOLO saw."""

    top_k: int = Field(default=5, ge=1)
    """Of a classifier, the best so many classes are written; of one with several classes a
    picture, those among them that reach `score_threshold`."""


class Yolo:
    """A network of `lakesight.models.yolo.network` with its weights, on torch."""

    Options = YoloOptions
    concurrent = False

    def __init__(
        self, card: ModelCard, folder: Path, options: YoloOptions, runtime: RuntimeName
    ) -> None:
        assert card.view is not None
        require_torch(card, runtime)
        check_size(card.view.height, card.view.width)
        self.card = card
        self.view = card.view
        self._contract = Contract.model_validate(card.contract)
        self.output = OUTPUTS[self._contract.task]
        self._options = options
        self._labels = _labels(card, folder, self._contract.num_classes)
        self._runtime = _open(self._contract, folder / WEIGHTS, card, options)
        self.runs_on = place(self._runtime)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the objects, or classes, of every picture, of type `output.type`."""
        if not views:
            return pa.array([], self.output.type)
        tensors = self._runtime.infer(views)
        predictions = _finite(tensors["output_0"])
        sizes_wh = sizes(rows)
        match self._contract.task:
            case "detect":
                return self._detect(predictions, sizes_wh)
            case "segment":
                return self._segment(predictions, _finite(tensors["output_1"]), sizes_wh)
            case "pose":
                return self._pose(predictions, sizes_wh)
            case "obb":
                return self._obb(predictions, sizes_wh)
            case "classify":
                return self._classify(predictions)

    def _kept(self, predictions: Floats) -> list[decode.Candidates]:
        """Return every picture's objects, in view pixels."""
        suppress = decode.rotated_suppressed if self._contract.task == "obb" else decode.suppressed
        threshold, num_classes = self._options.score_threshold, self._contract.num_classes
        return [
            suppress(decode.candidates(one, num_classes, threshold), self._options)
            for one in predictions
        ]

    def _placed(
        self, kept: Sequence[decode.Candidates], sizes_wh: Sequence[SizeWH]
    ) -> tuple[list[Found], list[Floats]]:
        """Return the objects in original pixels, and the values that each picture's have more."""
        found, extras = [], []
        for one, size in zip(kept, sizes_wh, strict=True):
            objects, seen = decode.in_original(one, self.view, *size)
            found.append(objects)
            extras.append(one.extras[seen])
        return found, extras

    def _detect(self, predictions: Floats, sizes_wh: Sequence[SizeWH]) -> pa.Array:
        found, _ = self._placed(self._kept(predictions), sizes_wh)
        return to_arrow(found, self._labels)

    def _segment(
        self, predictions: Floats, prototypes: Floats, sizes_wh: Sequence[SizeWH]
    ) -> pa.Array:
        found, coefficients = self._placed(self._kept(predictions), sizes_wh)
        counts = [
            decode.rles(values, protos, one.boxes_xyxy, self.view.place(*size), size)
            for values, protos, one, size in zip(
                coefficients, prototypes, found, sizes_wh, strict=True
            )
        ]
        return columns.with_masks(found, counts, sizes_wh, self._labels)

    def _pose(self, predictions: Floats, sizes_wh: Sequence[SizeWH]) -> pa.Array:
        found, values = self._placed(self._kept(predictions), sizes_wh)
        points = [
            decode.keypoints(one, self._contract.keypoint_dims, self.view, *size)
            for one, size in zip(values, sizes_wh, strict=True)
        ]
        return columns.with_keypoints(found, points, self._labels)

    def _obb(self, predictions: Floats, sizes_wh: Sequence[SizeWH]) -> pa.Array:
        placed = [
            decode.rotated_in_original(one, self.view, *size)
            for one, size in zip(self._kept(predictions), sizes_wh, strict=True)
        ]
        found, rotated = zip(*placed, strict=True)
        return columns.with_rotated_boxes(found, rotated, self._labels)

    def _classify(self, scores: Floats) -> pa.Array:
        threshold = self._options.score_threshold if self._contract.multi_label else None
        return columns.classes(scores, self._labels, self._options.top_k, threshold)


def _open(contract: Contract, path: Path, card: ModelCard, options: YoloOptions) -> TorchModule:
    """Return the network with its weights, folded, taking uint8."""
    assert card.view is not None
    network = Network(
        width=card.view.width, height=card.view.height, layout="NCHW", scale=(255.0,) * 3
    )
    return TorchModule(for_inference(load_network(contract, path)), network, options)


def _labels(card: ModelCard, folder: Path, num_classes: int) -> tuple[str, ...]:
    labels = read_labels(card, folder)
    if len(labels) != num_classes:
        raise UserError(
            f"{card.name} tells {num_classes} classes, but its card names {len(labels)} labels"
        )
    return labels


def _finite(values: Floats) -> Floats:
    """Return the values; raise ValueError for NaN or infinity, which would read as nothing seen."""
    if not np.isfinite(values).all():
        raise ValueError("the network gave numbers that are not finite: its weights may be damaged")
    return values
