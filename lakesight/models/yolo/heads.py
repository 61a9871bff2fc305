"""The heads: detect, segment, pose, obb over three levels; classify over the last.

Shapes as in `outputs`. Decoding computes in float32: bfloat16 holds a coordinate near 640 to 4 px.
Sources: distribution focal loss, arXiv:2006.04388; prototypes, arXiv:1904.02689; the layout and the
initial biases are those of the public v8 models.
"""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lakesight.models.yolo.blocks import Conv, Proto
from lakesight.models.yolo.outputs import (
    NUM_BINS,
    NUM_PROTOTYPES,
    STRIDES,
    Decoded,
    Logits,
    Raw,
    anchors,
)


class DFL(nn.Module):
    """The expectation of a distribution over bins; its weight, 0..15, is constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(NUM_BINS, 1, 1, bias=False).requires_grad_(False)
        bins = torch.arange(NUM_BINS, dtype=torch.float32)
        self.conv.weight.data = bins.view(1, NUM_BINS, 1, 1)

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the `(B, 4, A)` distances, in cells, of `(B, 4 * 16, A)` logits."""
        batch, _, num_anchors = boxes.shape
        bins = boxes.float().view(batch, 4, NUM_BINS, num_anchors).transpose(1, 2).softmax(1)
        # Not as a convolution: engines would round it to bf16 or int8, and a box by pixels.
        return (bins * self.conv.weight.float()).sum(1)


def branches(channels: Sequence[int], num_hidden: int, num_out: int) -> nn.ModuleList:
    """Return one branch a level: two 3x3 blocks, then a plain 1x1 convolution."""
    return nn.ModuleList(
        nn.Sequential(
            Conv(num_in, num_hidden, 3),
            Conv(num_hidden, num_hidden, 3),
            nn.Conv2d(num_hidden, num_out, 1),
        )
        for num_in in channels
    )


def flat(modules: Iterable[nn.Module], levels: Sequence[Tensor]) -> Tensor:
    """Return the branches' maps side by side, `(B, channels, A)`."""
    pairs = zip(modules, levels, strict=True)
    return torch.cat([module(level).flatten(2) for module, level in pairs], 2)


class Detect(nn.Module):
    """Boxes and classes of every cell, in branches of their own."""

    def __init__(self, num_classes: int, channels: Sequence[int]) -> None:
        super().__init__()
        num_hidden = max(16, channels[0] // 4, 4 * NUM_BINS)
        self.cv2 = branches(channels, num_hidden, 4 * NUM_BINS)
        self.cv3 = branches(channels, max(channels[0], min(num_classes, 100)), num_classes)
        self.dfl = DFL()
        self._start(num_classes)

    def _start(self, num_classes: int) -> None:
        """Set the biases as published: about 5 objects in a picture of 640 px."""
        for box, score, stride in zip(self.cv2, self.cv3, STRIDES, strict=True):
            nn.init.constant_(_bias(box), 1.0)
            nn.init.constant_(_bias(score), math.log(5 / num_classes / (640 / stride) ** 2))

    def forward(self, levels: Sequence[Tensor]) -> Raw:
        """Return the logits of three `(B, C, H, W)` maps."""
        return Raw(flat(self.cv2, levels), flat(self.cv3, levels), *anchors(levels))

    def decode(self, raw: Raw) -> Decoded:
        """Return boxes in pixels, scores in 0..1, and what the task adds."""
        parts = [self.boxes(raw), raw.scores.float().sigmoid(), *self.extras(raw)]
        return Decoded(torch.cat(parts, 1), raw.prototypes)

    def boxes(self, raw: Raw) -> Tensor:
        """Return `(B, 4, A)` centres and sizes in pixels of the input."""
        before, after = self.dfl(raw.boxes).chunk(2, 1)
        centres = raw.points + (after - before) / 2
        return torch.cat([centres, before + after], 1) * raw.strides

    def extras(self, raw: Raw) -> list[Tensor]:
        """Return what follows the scores: nothing here."""
        return []


class Segment(Detect):
    """Detect, with the coefficients that make an object's mask of shared prototypes."""

    def __init__(self, num_classes: int, channels: Sequence[int], num_hidden: int) -> None:
        super().__init__(num_classes, channels)
        self.proto = Proto(channels[0], num_hidden, NUM_PROTOTYPES)
        self.cv4 = branches(channels, max(channels[0] // 4, NUM_PROTOTYPES), NUM_PROTOTYPES)

    def forward(self, levels: Sequence[Tensor]) -> Raw:
        """Return the logits, coefficients and prototypes."""
        masks, prototypes = flat(self.cv4, levels), self.proto(levels[0])
        return super().forward(levels)._replace(masks=masks, prototypes=prototypes)

    def extras(self, raw: Raw) -> list[Tensor]:
        """Return the `(B, 32, A)` coefficients."""
        assert raw.masks is not None
        return [raw.masks.float()]


class Pose(Detect):
    """Detect, with keypoints of 2 values (x, y) or 3 (x, y, score)."""

    def __init__(
        self, num_classes: int, channels: Sequence[int], num_keypoints: int, keypoint_dims: int
    ) -> None:
        super().__init__(num_classes, channels)
        self.keypoint_shape = (num_keypoints, keypoint_dims)
        num_values = num_keypoints * keypoint_dims
        self.cv4 = branches(channels, max(channels[0] // 4, num_values), num_values)

    def forward(self, levels: Sequence[Tensor]) -> Raw:
        """Return the logits and keypoints."""
        return super().forward(levels)._replace(keypoints=flat(self.cv4, levels))

    def extras(self, raw: Raw) -> list[Tensor]:
        """Return the `(B, K * D, A)` values: twice the output, in cells from the cell's corner."""
        assert raw.keypoints is not None
        batch, _, num_anchors = raw.keypoints.shape
        values = raw.keypoints.float().view(batch, *self.keypoint_shape, num_anchors)
        places = (values[:, :, :2] * 2 + raw.points - 0.5) * raw.strides
        return [torch.cat([places, values[:, :, 2:].sigmoid()], 2).flatten(1, 2)]


class Obb(Detect):
    """Detect, with an angle: a box's distances are along its own sides."""

    def __init__(self, num_classes: int, channels: Sequence[int]) -> None:
        super().__init__(num_classes, channels)
        self.cv4 = branches(channels, max(channels[0] // 4, 1), 1)

    def forward(self, levels: Sequence[Tensor]) -> Raw:
        """Return the logits, those of the angles too."""
        return super().forward(levels)._replace(angles=flat(self.cv4, levels))

    def angles(self, raw: Raw) -> Tensor:
        """Return `(B, 1, A)` radians from x towards y: (sigmoid - 1/4) * pi."""
        assert raw.angles is not None
        return (raw.angles.float().sigmoid() - 0.25) * math.pi

    def boxes(self, raw: Raw) -> Tensor:
        """Return `(B, 4, A)`: the centre turns about the point, width and height stay."""
        before, after = self.dfl(raw.boxes).chunk(2, 1)
        x, y = ((after - before) / 2).chunk(2, 1)
        cos, sin = self.angles(raw).cos(), self.angles(raw).sin()
        centres = raw.points + torch.cat([x * cos - y * sin, x * sin + y * cos], 1)
        return torch.cat([centres, before + after], 1) * raw.strides

    def extras(self, raw: Raw) -> list[Tensor]:
        """Return the `(B, 1, A)` angles."""
        return [self.angles(raw)]


class Classify(nn.Module):
    """Classes of the whole picture: one of them by softmax, or any of them by sigmoid."""

    NUM_HIDDEN = 1280

    def __init__(self, num_classes: int, num_in: int, multi_label: bool) -> None:
        super().__init__()
        self.conv = Conv(num_in, self.NUM_HIDDEN)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(self.NUM_HIDDEN, num_classes)
        self.multi_label = multi_label

    def forward(self, features: Tensor) -> Logits:
        """Return the logits of `(B, C, H, W)` features."""
        return Logits(self.linear(self.pool(self.conv(features)).flatten(1)))

    def decode(self, logits: Logits) -> Decoded:
        """Return `(B, C)` in 0..1: probabilities that add up to 1, or each class's own."""
        classes = logits.classes.float()
        return Decoded(classes.sigmoid() if self.multi_label else classes.softmax(1))


def _bias(branch: nn.Module) -> Tensor:
    """Return the bias of a branch's last convolution."""
    last = cast("nn.Sequential", branch)[-1]
    return cast("Tensor", last.bias)
