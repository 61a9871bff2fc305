"""Keypoints of one person a crop (MoveNet), for every person that a detector found."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.artefact import weights_file
from lakesight.models.base import Frozen, Image, ModelCard, RuntimeName
from lakesight.models.detection import sizes
from lakesight.runtimes.base import Network, RuntimeOptions, place
from lakesight.runtimes.choose import open_network
from lakesight.schemas import KEYPOINTS, detection_type

Boxes = npt.NDArray[np.float32]
Points = npt.NDArray[np.float32]
"""`(N, keypoints, 3)` as `(x, y, score)`."""


class PoseOptions(RuntimeOptions):
    """Options of single-person pose."""

    margin: float = Field(default=1.25, ge=1, le=3)
    """Side of the square crop, as a multiple of the person's longer side."""


class PoseContract(Frozen):
    """The tensors of a single-person pose network."""

    size: int
    """Side of its square input, in pixels."""
    keypoints: str
    """`(1, 1, keypoints, 3)` as `(y, x, score)` in 0..1 of the crop."""
    person: str = "person"
    """Label of the detections to look at."""


class SinglePersonPose:
    """Adds `keypoints` to the detections of persons; other objects get null."""

    Options = PoseOptions
    concurrent = True

    def __init__(
        self, card: ModelCard, folder: Path, options: PoseOptions, runtime: RuntimeName
    ) -> None:
        assert card.view is not None
        self.card = card
        self.view = card.view
        self.output = pa.field("detections", detection_type(keypoints=True))
        self._margin = options.margin
        self._contract = PoseContract.model_validate(card.contract)
        side, tensor = self._contract.size, self._contract.keypoints
        network = Network(width=side, height=side, outputs=(tensor,))
        self._runtime = open_network(weights_file(card, folder), network, options, runtime)
        self.runs_on = place(self._runtime)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the rows' `detections`, those of persons with keypoints in original pixels."""
        found = _detections(rows)
        objects = found.flatten()
        owners = pc.list_parent_indices(found).to_numpy()
        persons = pc.equal(pc.struct_field(objects, "label"), self._contract.person)
        persons = persons.fill_null(False).to_numpy(zero_copy_only=False)
        boxes = pc.struct_field(objects, "box").flatten().to_numpy().reshape(-1, 4)
        points = self._points(views, sizes(rows), owners[persons], boxes[persons])
        return _with_keypoints(found, objects, persons, points)

    def _points(
        self,
        views: Sequence[Image],
        sizes_wh: Sequence[tuple[int, int]],
        owners: npt.NDArray[np.intp],
        boxes: Boxes,
    ) -> Points:
        """Return the keypoints of boxes in original pixels; `owners` are their pictures."""
        if not len(boxes):
            return np.empty((0, 0, 3), np.float32)
        squares = [
            square(self.view, sizes_wh[owner], box, self._margin)
            for owner, box in zip(owners, boxes, strict=True)
        ]
        crops = [
            crop(views[owner], where, self._contract.size)
            for owner, where in zip(owners, squares, strict=True)
        ]
        points: Points = self._runtime.infer(crops)[self._contract.keypoints][:, 0]
        return np.stack(
            [
                in_original(self.view, sizes_wh[owner], where, one)
                for owner, where, one in zip(owners, squares, points, strict=True)
            ]
        )


def square(
    view: ImageView, size_wh: tuple[int, int], box_xyxy: Boxes, margin: float
) -> tuple[int, int, int]:
    """Return `(left, top, side)` in view pixels of the square around a box in original pixels."""
    left, top, right, bottom = view.place(*size_wh).to_view(box_xyxy)
    side = max(2, round(max(right - left, bottom - top) * margin))
    return round((left + right - side) / 2), round((top + bottom - side) / 2), side


def crop(image: Image, where: tuple[int, int, int], size: int) -> Image:
    """Return the square `(left, top, side)` of a picture at `(size, size, 3)`, black outside."""
    left, top, side = where
    inside = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    above, before = max(0, -top), max(0, -left)
    whole = np.zeros((side, side, 3), np.uint8)
    whole[above : above + inside.shape[0], before : before + inside.shape[1]] = inside
    shrinks = side > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cast("Image", cv2.resize(whole, (size, size), interpolation=method))


def in_original(
    view: ImageView, size_wh: tuple[int, int], where: tuple[int, int, int], points_yxs: Points
) -> Points:
    """Return `(x, y, score)` in original pixels from `(y, x, score)` in 0..1 of a square."""
    left, top, side = where
    points_xy = points_yxs[:, [1, 0]] * side + (left, top)
    both = view.place(*size_wh).to_original(np.tile(points_xy, 2))
    return np.column_stack([both[:, :2], points_yxs[:, 2]]).astype(np.float32)


def _detections(rows: pa.Table) -> pa.ListArray:
    if "detections" not in rows.column_names:
        raise UserError(
            "pose looks at the persons that a detector found, and there are no detections: "
            "add a detector to the job, such as --detect ssd-mobilenet-v2-coco"
        )
    return cast("pa.ListArray", rows["detections"].combine_chunks())


def _with_keypoints(
    found: pa.ListArray, objects: pa.StructArray, persons: npt.NDArray[np.bool_], points: Points
) -> pa.ListArray:
    """Return the lists of `found` again, `points` in the field `keypoints` of the persons."""
    kind = detection_type(keypoints=True)
    values = pa.FixedSizeListArray.from_arrays(points.ravel(), type=KEYPOINTS.value_type)
    keypoints = _lists(persons * points.shape[1], ~persons, values, KEYPOINTS)
    fields = [field for field in kind.value_type if field.name != "keypoints"]
    columns = [pc.struct_field(objects, field.name) for field in fields]
    merged = pa.StructArray.from_arrays([*columns, keypoints], fields=list(kind.value_type))
    lengths = pc.list_value_length(found).fill_null(0).to_numpy()
    return _lists(lengths, found.is_null().to_numpy(zero_copy_only=False), merged, kind)


def _lists(
    lengths: npt.NDArray[np.integer],
    nulls: npt.NDArray[np.bool_],
    values: pa.Array,
    kind: pa.DataType,
) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), values, type=kind, mask=pa.array(nulls, pa.bool_())
    )
