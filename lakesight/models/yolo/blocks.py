"""The blocks of the network: convolution, C2f, SPPF, prototypes.

Attribute names are those of the public checkpoints, so that their tensors load by name.
Shapes: B pictures, C channels, H and W of a feature map.
"""

from typing import cast

import torch
from torch import Tensor, nn

EPS, MOMENTUM = 1e-3, 0.03
"""Of every BatchNorm, as published."""


class Conv(nn.Module):
    """Convolution, BatchNorm, SiLU; `(B, C, H, W)` to `(B, num_out, H / stride, W / stride)`."""

    def __init__(self, num_in: int, num_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(num_out, eps=EPS, momentum=MOMENTUM)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated features."""
        return cast("Tensor", self.act(self.bn(self.conv(x))))


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with the input added where `shortcut` says so."""

    def __init__(self, num_channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(num_channels, num_channels, 3)
        self.cv2 = Conv(num_channels, num_channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the input's shape."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """Cross-stage partial block that keeps the output of every bottleneck."""

    def __init__(self, num_in: int, num_out: int, num_blocks: int, shortcut: bool = False) -> None:
        super().__init__()
        half = num_out // 2
        self.cv1 = Conv(num_in, 2 * half)
        self.cv2 = Conv((2 + num_blocks) * half, num_out)
        self.m = nn.ModuleList(Bottleneck(half, shortcut) for _ in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, num_out, H, W)`."""
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return cast("Tensor", self.cv2(torch.cat(parts, 1)))


class SPPF(nn.Module):
    """Spatial pyramid pooling: three 5x5 maxima in a row see 5, 9 and 13 cells."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.cv1 = Conv(num_in, num_in // 2)
        self.cv2 = Conv(num_in // 2 * 4, num_out)
        self.m = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, num_out, H, W)`."""
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return cast("Tensor", self.cv2(torch.cat(parts, 1)))


class Proto(nn.Module):
    """Mask prototypes at twice the resolution of the finest level."""

    def __init__(self, num_in: int, num_hidden: int, num_prototypes: int) -> None:
        super().__init__()
        self.cv1 = Conv(num_in, num_hidden, 3)
        self.upsample = nn.ConvTranspose2d(num_hidden, num_hidden, 2, 2)
        self.cv2 = Conv(num_hidden, num_hidden, 3)
        self.cv3 = Conv(num_hidden, num_prototypes)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, num_prototypes, 2 * H, 2 * W)`."""
        return cast("Tensor", self.cv3(self.cv2(self.upsample(self.cv1(x)))))
