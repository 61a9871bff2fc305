"""What the tensors of a YOLO say of its pictures: the one way from network outputs to rows.

Whatever ran the network, and whether it is still being trained, the same values come out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.detection import Found, NmsOptions, sizes, to_arrow
from lakesight.models.yolo import columns, decode
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.folder import Contract
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


class Reader:
    """Reads the tensors of one network: `Decoded`'s predictions and prototypes.

    They are called `output_0` and `output_1`.
    """

    def __init__(
        self,
        contract: Contract,
        labels: tuple[str, ...],
        view: ImageView,
        options: YoloOptions,
    ) -> None:
        """Raise UserError unless there is one label for each class."""
        if len(labels) != contract.num_classes:
            raise UserError(
                f"the network tells {contract.num_classes} classes, but {len(labels)} labels were "
                "given: name one for each class"
            )
        self.contract, self.labels, self.view, self.options = contract, labels, view, options
        self.output = OUTPUTS[contract.task]

    def read(self, tensors: Mapping[str, npt.NDArray[np.float32]], rows: pa.Table) -> pa.Array:
        """Return the objects, or classes, of every picture, of type `output.type`.

        `rows` has the `width` and `height` of the originals. Raises ValueError for tensors with
        numbers that are not finite.
        """
        predictions = _finite(tensors["output_0"])
        sizes_wh = sizes(rows)
        match self.contract.task:
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

    def kept(self, predictions: Floats) -> list[decode.Candidates]:
        """Return every picture's objects, in view pixels."""
        suppress = decode.rotated_suppressed if self.contract.task == "obb" else decode.suppressed
        threshold, num_classes = self.options.score_threshold, self.contract.num_classes
        return [
            suppress(decode.candidates(one, num_classes, threshold), self.options)
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
        found, _ = self._placed(self.kept(predictions), sizes_wh)
        return to_arrow(found, self.labels)

    def _segment(
        self, predictions: Floats, prototypes: Floats, sizes_wh: Sequence[SizeWH]
    ) -> pa.Array:
        found, coefficients = self._placed(self.kept(predictions), sizes_wh)
        counts = [
            decode.rles(values, protos, one.boxes_xyxy, self.view.place(*size), size)
            for values, protos, one, size in zip(
                coefficients, prototypes, found, sizes_wh, strict=True
            )
        ]
        return columns.with_masks(found, counts, sizes_wh, self.labels)

    def _pose(self, predictions: Floats, sizes_wh: Sequence[SizeWH]) -> pa.Array:
        found, values = self._placed(self.kept(predictions), sizes_wh)
        points = [
            decode.keypoints(one, self.contract.keypoint_dims, self.view, *size)
            for one, size in zip(values, sizes_wh, strict=True)
        ]
        return columns.with_keypoints(found, points, self.labels)

    def _obb(self, predictions: Floats, sizes_wh: Sequence[SizeWH]) -> pa.Array:
        placed = [
            decode.rotated_in_original(one, self.view, *size)
            for one, size in zip(self.kept(predictions), sizes_wh, strict=True)
        ]
        found, rotated = zip(*placed, strict=True)
        return columns.with_rotated_boxes(found, rotated, self.labels)

    def _classify(self, scores: Floats) -> pa.Array:
        threshold = self.options.score_threshold if self.contract.multi_label else None
        return columns.classes(scores, self.labels, self.options.top_k, threshold)


class NotFiniteError(ValueError):
    """A network gave NaN or infinity: its weights are damaged, or its training has gone wrong."""

    def __init__(self) -> None:
        super().__init__("the network gave numbers that are not finite: its weights may be damaged")


def _finite(values: Floats) -> Floats:
    """Return the values; raise NotFiniteError for what would read as nothing seen."""
    if not np.isfinite(values).all():
        raise NotFiniteError
    return values
