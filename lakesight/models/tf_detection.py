"""Detectors exported by TensorFlow's object detection API as a frozen graph (SSD).

The graph is cut where its boxes and scores are decoded, before its own suppression: that one loops
over 90 classes for every picture. Ours gives the same objects and a network that loads ten times
faster.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.models.artefact import read_labels, weights_file
from lakesight.models.base import Frozen, Image, ModelCard, RuntimeName
from lakesight.models.detection import Found, NmsOptions, candidates, sizes, to_arrow
from lakesight.runtimes.base import Network, place
from lakesight.runtimes.choose import open_network
from lakesight.schemas import detection_type


class TfContract(Frozen):
    """The tensors of a frozen detection graph."""

    boxes: str = "Postprocessor/Reshape_2:0"
    """`(1, anchors, 4)` as `(y_min, x_min, y_max, x_max)` in 0..1 of the view."""
    scores: str = "Postprocessor/convert_scores:0"
    """`(1, anchors, 1 + classes)`; class 0 is the background."""


class TfDetection:
    """Boxes from a frozen TensorFlow detection graph."""

    Options = NmsOptions
    concurrent = True

    def __init__(
        self, card: ModelCard, folder: Path, options: NmsOptions, runtime: RuntimeName
    ) -> None:
        assert card.view is not None
        self.card = card
        self.view = card.view
        self.output = pa.field("detections", detection_type())
        self._options = options
        self._labels = read_labels(card, folder)
        self._contract = TfContract.model_validate(card.contract)
        network = Network(
            width=self.view.width,
            height=self.view.height,
            outputs=(self._contract.boxes, self._contract.scores),
        )
        self._runtime = open_network(weights_file(card, folder), network, options, runtime)
        self.runs_on = place(self._runtime)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the objects of every picture, as `schemas.detection_type()`."""
        if not views:
            return to_arrow([], self._labels)
        tensors = self._runtime.infer(views)
        boxes, scores = tensors[self._contract.boxes], tensors[self._contract.scores]
        found = [
            self._objects(*one, size)
            for one, size in zip(zip(boxes, scores, strict=True), sizes(rows), strict=True)
        ]
        return to_arrow(found, self._labels)

    def _objects(
        self,
        boxes_yxyx: npt.NDArray[np.float32],
        scores_nc: npt.NDArray[np.float32],
        size: tuple[int, int],
    ) -> Found:
        """Return one picture's objects; boxes come as 0..1 of the view."""
        side = np.array((self.view.width, self.view.height) * 2, np.float32)
        boxes_xyxy = np.clip(boxes_yxyx[:, [1, 0, 3, 2]], 0, 1) * side
        found = candidates(boxes_xyxy, scores_nc[:, 1:], self._options.score_threshold)
        found = Found(found.boxes_xyxy, found.scores, found.class_ids + 1)  # 0: the background
        return found.suppressed(self._options).in_original(self.view, *size)
