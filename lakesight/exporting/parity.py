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
"""What an export in f32 may differ by: a side in pixels of the view, a score, and the rest as a
part of its range; over all anchors, objects or not."""


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
    extra: Difference | None = None
    """Of mask coefficients, keypoints or angles."""
    prototypes: Difference | None = None

    @property
    def other(self) -> float | None:
        """Return the largest relative difference of what is neither box nor score."""
        parts = [part.relative for part in (self.extra, self.prototypes) if part is not None]
        return max(parts) if parts else None

    def beyond(self) -> str | None:
        """Return what is more than an export in f32 may differ by, in words; None where nothing."""
        # what is not a number is not below a limit either
        if self.box_px is not None and not self.box_px.absolute <= BOX_PX:
            return f"a box differs by {self.box_px.absolute:.3g} px (allowed: {BOX_PX})"
        if not self.score.absolute <= SCORE:
            return f"a score differs by {self.score.absolute:.3g} (allowed: {SCORE})"
        if self.other is not None and not self.other <= OTHER:
            return f"the rest differs by {self.other:.3g} of its range (allowed: {OTHER})"
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
    prototypes = _difference(wanted["output_1"], found["output_1"]) if masks else None
    if contract.task == "classify":
        return Differences(score=_difference(before, after))
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
    has_more = wanted.shape[-1] > end
    return Differences(
        box_px=_difference(wanted[..., :4], found[..., :4]),
        score=_difference(wanted[..., 4:end], found[..., 4:end]),
        extra=_difference(wanted[..., end:], found[..., end:]) if has_more else None,
    )


def of_objects(wanted: Sequence[Candidates], found: Sequence[Candidates]) -> Differences:
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
    boxes, scores, extras = (_difference(*part) for part in parts)
    has_more = parts[2][0].shape[1] > 0
    return Differences(box_px=boxes, score=scores, extra=extras if has_more else None)


def _ordered(found: Candidates) -> Candidates:
    keys = (*found.boxes[:, ::-1].T.round(1), found.class_ids, -found.scores)
    return found.take(np.lexsort(keys))


def _difference(wanted: Floats, found: Floats) -> Difference:
    absolute = float(np.abs(wanted - found).max(initial=0))
    span = float(np.abs(wanted).max(initial=0))
    return Difference(absolute=absolute, relative=absolute / span if span else absolute)
