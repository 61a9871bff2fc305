"""Which network: task, classes, widths and depths. A few numbers, of which `network` is built."""

import math
from typing import Literal, NamedTuple

from pydantic import Field

from lakesight.models.base import Frozen

Task = Literal["detect", "segment", "pose", "obb", "classify"]
Size = Literal["n", "s", "m", "l", "x"]


class Scale(NamedTuple):
    """How a size differs from l: the factors of blocks and channels, and the most channels."""

    depth: float
    width: float
    max_channels: int


SCALES: dict[Size, Scale] = {
    "n": Scale(0.33, 0.25, 1024),
    "s": Scale(0.33, 0.50, 1024),
    "m": Scale(0.67, 0.75, 768),
    "l": Scale(1.00, 1.00, 512),
    "x": Scale(1.00, 1.25, 512),
}
"""As published; `max_channels` is that of the dense tasks, classify has 1024 in every size."""


class Architecture(Frozen):
    """All that decides the shape of a network's tensors and the meaning of its outputs."""

    task: Task
    num_classes: int = Field(ge=1)
    depth: float = Field(gt=0)
    """Factor of the number of blocks."""
    width: float = Field(gt=0)
    """Factor of the channels, which are rounded up to multiples of 8."""
    max_channels: int = Field(ge=8)
    """The most channels of a layer, before `width`."""
    num_keypoints: int = Field(default=17, ge=1)
    """Pose only."""
    keypoint_dims: Literal[2, 3] = 3
    """Pose only; 2: x, y. 3: x, y, score."""
    multi_label: bool = False
    """Classify only: a picture may have any number of the classes."""

    def channels(self, count: int) -> int:
        """Return how many channels a layer of `count` has at this width."""
        return math.ceil(min(count, self.max_channels) * self.width / 8) * 8

    def blocks(self, count: int) -> int:
        """Return how many bottlenecks a C2f of `count` has at this depth."""
        return max(1, round(count * self.depth))


def named(
    task: Task,
    size: Size,
    num_classes: int,
    *,
    num_keypoints: int = 17,
    keypoint_dims: Literal[2, 3] = 3,
    multi_label: bool = False,
    width: float | None = None,
    depth: float | None = None,
    max_channels: int | None = None,
) -> Architecture:
    """Return a published size; `width`, `depth` and `max_channels` replace its own where given."""
    scale = SCALES[size]
    most = 1024 if task == "classify" else scale.max_channels
    return Architecture(
        task=task,
        num_classes=num_classes,
        depth=scale.depth if depth is None else depth,
        width=scale.width if width is None else width,
        max_channels=most if max_channels is None else max_channels,
        num_keypoints=num_keypoints,
        keypoint_dims=keypoint_dims,
        multi_label=multi_label,
    )
