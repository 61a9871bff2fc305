"""Which keypoint becomes which in a mirror."""

import pytest

from lakesight.errors import UserError
from lakesight.training.yolo.flips import COCO_FLIP_INDICES, checked, flip_indices_of

# cocodataset.org, person_keypoints_val2017.json: `keypoints` of the category person
COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip"),
    *("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (COCO_NAMES, COCO_FLIP_INDICES),
        (("Wing_Left", "tail", "wing_right"), (2, 1, 0)),
        (("left_eye", "nose"), None),
        (("bright spot", "left eye", "right eye", "cleft"), (0, 2, 1, 3)),
        (("bright spot", "cleft"), None),
        (("LeftEye", "eyeLeft", "RIGHTEYE", "eyeRight"), (2, 3, 0, 1)),
        (("point_1", "point_2"), None),
        ((), None),
    ],
)
def test_names_tell_the_pairs(names: tuple[str, ...], indices: tuple[int, ...] | None) -> None:
    assert flip_indices_of(names) == indices


def test_pairs_go_both_ways() -> None:
    assert checked([1, 0, 2], 3, "flip_idx") == (1, 0, 2)
    for wrong in ([1, 2, 0], [0, 0, 2], [0, 1], [0, 1, 3], ["a", "b", "c"]):
        with pytest.raises(UserError, match="flip_idx must name for each of 3 keypoints"):
            checked(wrong, 3, "flip_idx")  # type: ignore[arg-type]
