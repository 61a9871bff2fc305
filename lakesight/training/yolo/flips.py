"""What becomes of keypoints in a mirror: a left eye is then a right eye."""

import re
from collections.abc import Sequence

from lakesight.errors import UserError

FlipIndices = tuple[int, ...]
"""By keypoint, the one in whose place it is after a flip, left to right or upside down."""

COCO_FLIP_INDICES: FlipIndices = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Of COCO's 17 keypoints of a person: nose, then left and right in turn."""

SIDES = r"(?i:(?<![a-z])(?:left|right))|(?<=[a-z])(?:Left|Right)"


def flip_indices_of(names: Sequence[str]) -> FlipIndices | None:
    """Return the indices by keypoints' names, which differ by `left` and `right`.

    Either begins a word, as in `eye_left`, `lefteye` and `eyeLeft`, not in `bright`. None where no
    name has one of them, or one has no partner: then nobody knows.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    indices = tuple(places.get(_mirrored(name).lower(), -1) for name in names)
    if -1 in indices or indices == tuple(range(len(names))):
        return None
    return indices


def checked(indices: Sequence[int], count: int, where: str) -> FlipIndices:
    """Return the indices, or raise UserError where they do not pair `count` keypoints."""
    is_each_once = len(indices) == count and set(indices) == set(range(count))
    if not is_each_once or any(indices[one] != place for place, one in enumerate(indices)):
        raise UserError(
            f"{where} must name for each of {count} keypoints the one that it becomes in a mirror, "
            f"and back again (a point of the middle itself), but got {list(indices)}"
        )
    return tuple(indices)


def _mirrored(name: str) -> str:
    return re.sub(SIDES, lambda word: "right" if word[0].lower() == "left" else "left", name)
