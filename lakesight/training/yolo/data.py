"""What a training looks at: two splits that fit each other, and something to learn in both."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from lakesight.errors import UserError
from lakesight.training.yolo.datasets import Labelled, Pictures, Task

TURNING = ("degrees", "shear")
"""What of `Augmentation` moves one keypoint above another."""


class Data(NamedTuple):
    """What a training looks at."""

    train: Pictures
    val: Pictures

    def told(self) -> str:
        """Return how many pictures there are, and how many have no label, in one clause."""
        return f"{_counted(self.train)} to train on, {_counted(self.val)} to validate"


def checked(train: Pictures, val: Pictures, where: tuple[str, str]) -> Data:
    """Return both splits, which are from `where`.

    Raises UserError where they do not fit each other, or nothing could be learnt or judged.
    """
    _check_fit(train, val, where)
    _check_labelled(train, where[0], "train on")
    _check_labelled(val, where[1], "validate on")
    _check_once(val, where[1])
    return Data(train, val)


def check_order(train: Pictures, changes: Iterable[str]) -> None:
    """Raise UserError where changes of pictures put keypoints out of their order."""
    turning = [name for name in changes if name in TURNING]
    if train.keypoints_by_place and turning:
        raise UserError(
            "the keypoints of these pictures are in the order in which they lie, of scenes from "
            f"the topmost on, so augmentation.{turning[0]} would make another one the first: leave "
            "it out"
        )


def _check_fit(train: Pictures, val: Pictures, where: tuple[str, str]) -> None:
    """Raise UserError unless both are there, and are of the same classes and keypoints."""
    if not len(train) or not len(val):
        raise UserError(
            f"{where[0]} has {len(train)} pictures to train on and {where[1]} {len(val)} to "
            "validate on: give both"
        )
    if train.labels != val.labels:
        raise UserError(
            f"the classes to train on ({', '.join(train.labels)}) are not those to validate on "
            f"({', '.join(val.labels)}): the same names in the same order are wanted"
        )
    points = train.num_keypoints, val.num_keypoints
    if all(points) and points[0] != points[1]:
        raise UserError(
            f"the objects to train on have {points[0]} keypoints, those to validate on "
            f"{points[1]}: the same points in the same order are wanted"
        )


def _check_labelled(split: Pictures, data: str, purpose: str) -> None:
    """Raise UserError where nothing could be learnt, or nobody could tell which epoch is best."""
    what = {"classify": "class", "pose": "keypoint"}.get(split.task, "object")
    if not any(_is_labelled(one, split.task) for one in split.pictures):
        raise UserError(
            f"{data} has {len(split):,} pictures to {purpose} and not one {what} on them: give "
            "some that are labelled, and see that their labels lie where they are looked for"
        )


def _check_once(val: Pictures, data: str) -> None:
    """Raise UserError for a picture that is there twice: nothing is judged twice."""
    counts = Counter(one.path for one in val.pictures)
    if twice := [path for path, count in counts.items() if count > 1]:
        raise UserError(f"{data} has {twice[0]} twice to validate on: leave one of the two out")


def _is_labelled(one: Labelled, task: Task) -> bool:
    """Return whether there is something of what the task is about."""
    if task == "pose":
        return one.keypoints is not None and bool((one.keypoints[..., 2] > 0).any())
    return len(one.class_ids) > 0


def _counted(split: Pictures) -> str:
    empty = sum(not len(one.class_ids) for one in split.pictures)
    return f"{len(split):,} pictures" + (f" ({empty:,} without a label)" if empty else "")
