"""How far an exported network is from its weights: tensors, then what it finds.

Shapes as in `yolo.outputs`: C classes, E values after the scores, A anchors.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lakesight.models.base import Frozen
from lakesight.models.yolo.decode import Candidates
from lakesight.models.yolo.folder import Contract
from lakesight.runtimes.base import Tensors

Floats = npt.NDArray[np.float32]

SEEN = 0.25
"""Anchors of this score are objects: what the figures of an export are told of."""

BOX_PX, SCORE, OTHER = 0.1, 1e-3, 1e-3
"""What an export in f32 may differ by: a side or a keypoint in pixels of the view, a score (of a
keypoint too), and the rest as a part of its range; over all anchors, objects or not."""


class Difference(Frozen):
    """The largest difference of a part of the outputs."""

    absolute: float
    relative: float
    """Of the range of the part: the largest number that the weights give."""


class Differences(Frozen):
    """The largest differences over all views."""

    box_px: Difference | None = None
    """Of centres and sides, in pixels of the view; None for a classifier."""
    score: Difference
    keypoint_px: Difference | None = None
    """Of x and y of keypoints, in pixels of the view."""
    keypoint_score: Difference | None = None
    extra: Difference | None = None
    """Of mask coefficients or angles."""
    prototypes: Difference | None = None

    @property
    def other(self) -> float | None:
        """Return the largest relative difference of what is neither box nor score."""
        every = (self.keypoint_px, self.keypoint_score, self.extra, self.prototypes)
        return max((part.relative for part in every if part is not None), default=None)

    def beyond(self) -> str | None:
        """Return what is more than an export in f32 may differ by, in words; None where nothing."""
        absolute = [
            ("a box", self.box_px, BOX_PX, " px"),
            ("a score", self.score, SCORE, ""),
            ("a keypoint", self.keypoint_px, BOX_PX, " px"),
            ("a keypoint's score", self.keypoint_score, SCORE, ""),
        ]
        # what is not a number is not below a limit either
        for what, part, limit, unit in absolute:
            if part is not None and not part.absolute <= limit:
                return f"{what} differs by {part.absolute:.3g}{unit} (allowed: {limit})"
        for part in (self.extra, self.prototypes):
            if part is not None and not part.relative <= OTHER:
                return f"the rest differs by {part.relative:.3g} of its range (allowed: {OTHER})"
        return None


def check(wanted: Tensors, found: Tensors) -> None:
    """Raise ValueError where the names or shapes are others, and for what is not finite."""
    shapes = [{name: one.shape for name, one in each.items()} for each in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"expected tensors of {shapes[0]}, got {shapes[1]}")
    if not all(np.isfinite(one).all() for one in found.values()):
        raise ValueError("numbers come out that are not finite")


def of_tensors(contract: Contract, wanted: Tensors, found: Tensors) -> Differences:
    """Return the differences of `Reader`'s tensors over the same views, over all anchors."""
    before, after = (each["output_0"] for each in (wanted, found))
    masks = "output_1" in wanted
    prototypes = difference(wanted["output_1"], found["output_1"]) if masks else None
    if contract.task == "classify":
        return Differences(score=difference(before, after))
    rows = before.transpose(0, 2, 1), after.transpose(0, 2, 1)
    return _of_rows(contract, *rows).model_copy(update={"prototypes": prototypes})


def of_seen(contract: Contract, wanted: Tensors, found: Tensors) -> tuple[int, Differences]:
    """Return how many anchors the weights score at `SEEN` or more, and the differences of those.

    Of a classifier they are the views.
    """
    if contract.task == "classify":
        return len(wanted["output_0"]), of_tensors(contract, wanted, found)
    before, after = (each["output_0"].transpose(0, 2, 1) for each in (wanted, found))
    seen = before[..., 4 : 4 + contract.num_classes].max(2) >= SEEN
    return int(seen.sum()), _of_rows(contract, before[seen], after[seen])


def _of_rows(contract: Contract, wanted: Floats, found: Floats) -> Differences:
    """Return the differences of `(..., 4 + C + E)` anchors."""
    end = 4 + contract.num_classes
    return Differences(
        box_px=difference(wanted[..., :4], found[..., :4]),
        score=difference(wanted[..., 4:end], found[..., 4:end]),
        **_of_extras(contract, wanted[..., end:], found[..., end:]),
    )


def _of_extras(contract: Contract, wanted: Floats, found: Floats) -> dict[str, Difference]:
    """Return the differences of `(..., E)` values after the scores, by field of `Differences`."""
    if not wanted.shape[-1]:
        return {}
    if contract.task != "pose":
        return {"extra": difference(wanted, found)}
    dims = contract.keypoint_dims
    points = [one.reshape(*one.shape[:-1], -1, dims) for one in (wanted, found)]
    parts = {"keypoint_px": difference(points[0][..., :2], points[1][..., :2])}
    if dims == 3:
        parts["keypoint_score"] = difference(points[0][..., 2], points[1][..., 2])
    return parts


def of_objects(
    contract: Contract, wanted: Sequence[Candidates], found: Sequence[Candidates]
) -> Differences:
    """Return the differences of what is left after NMS, picture by picture.

    Objects of one score may come in any order. Raises ValueError where a picture has other objects.
    """
    wanted, found = [_ordered(one) for one in wanted], [_ordered(one) for one in found]
    for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
        if one.class_ids.tolist() != other.class_ids.tolist():
            raise ValueError(
                f"picture {number} has {len(one.scores)} objects by the weights, and "
                f"{len(other.scores)}, or others, by the export"
            )
    parts = [
        (
            np.concatenate([getattr(one, name) for one in wanted]),
            np.concatenate([getattr(one, name) for one in found]),
        )
        for name in ("boxes", "scores", "extras")
    ]
    boxes, scores = (difference(*part) for part in parts[:2])
    return Differences(box_px=boxes, score=scores, **_of_extras(contract, *parts[2]))


def _ordered(found: Candidates) -> Candidates:
    keys = (*found.boxes[:, ::-1].T.round(1), found.class_ids, -found.scores)
    return found.take(np.lexsort(keys))


def difference(wanted: Floats, found: Floats) -> Difference:
    """Return the largest difference of two arrays of one shape."""
    absolute = float(np.abs(wanted - found).max(initial=0))
    span = float(np.abs(wanted).max(initial=0))
    return Difference(absolute=absolute, relative=absolute / span if span else absolute)
