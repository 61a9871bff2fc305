"""What the network gives: raw for training, decoded for inference, and the anchors of both.

Shapes: B pictures, C classes, K keypoints of D values, A anchors: the cells of all levels, level by
level (strides 8, 16, 32) and row by row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STRIDES = (8, 16, 32)
"""Of the three levels, in pixels of the input."""
NUM_BINS = 16
"""Of the distribution of each of a box's four distances, in cells 0..15."""
NUM_PROTOTYPES = 32


class Raw(NamedTuple):
    """What a loss reads: logits, and where their anchors are."""

    boxes: Tensor
    """`(B, 4 * 16, A)`: logits over the distances left, top, right, bottom of a point, in cells."""
    scores: Tensor
    """`(B, C, A)` logits."""
    points: Tensor
    """`(2, A)` float32: x and y of the cells' centres, in cells of their level."""
    strides: Tensor
    """`(1, A)` float32: pixels of the input a cell."""
    masks: Tensor | None = None
    """`(B, 32, A)` coefficients of the prototypes; segment only."""
    prototypes: Tensor | None = None
    """`(B, 32, H / 4, W / 4)`; segment only."""
    keypoints: Tensor | None = None
    """`(B, K * D, A)`; pose only."""
    angles: Tensor | None = None
    """`(B, 1, A)` logits; obb only."""


class Logits(NamedTuple):
    """What a classifier's loss reads."""

    classes: Tensor
    """`(B, C)`."""


class Decoded(NamedTuple):
    """What inference reads, in the layout of the public exports; float32 whatever the weights."""

    predictions: Tensor
    """`(B, 4 + C + extra, A)`: centre and size of a box in pixels, scores in 0..1, then for
    segment 32 coefficients, for pose `K * D` values (x, y in pixels, score in 0..1), for obb the
    angle in radians, -pi/4 to 3/4 pi. A classifier's is `(B, C)` in 0..1."""
    prototypes: Tensor | None = None
    """`(B, 32, H / 4, W / 4)`; segment only."""


def anchors(levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return points `(2, A)` in cells and strides `(1, A)` of feature maps `(B, C, H, W)`.

    Made of the maps' shapes by traceable operations: an export may leave the size open.
    """
    points, strides = [], []
    for level, stride in zip(levels, STRIDES, strict=True):
        height, width = level.shape[2:]
        y = torch.arange(height, device=level.device, dtype=torch.float32) + 0.5
        x = torch.arange(width, device=level.device, dtype=torch.float32) + 0.5
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack([columns.flatten(), rows.flatten()]))
        strides.append(torch.full_like(points[-1][:1], stride))
    return torch.cat(points, 1), torch.cat(strides, 1)
