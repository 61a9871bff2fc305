"""Fold BatchNorm into the convolution before it: the same outputs, fewer operations."""

from typing import TypeVar

import torch
from torch import nn

from lakesight.models.yolo.blocks import Conv

Module = TypeVar("Module", bound=nn.Module)


def fuse(module: Module) -> Module:
    """Fold every BatchNorm of a module in place, and return the module; training it ends here.

    What is folded already stays as it is. `model.N.bn.*` leaves the state dict, `conv.bias` joins.
    """
    for block in module.modules():
        if isinstance(block, Conv) and isinstance(block.bn, nn.BatchNorm2d):
            block.conv = _folded(block.conv, block.bn)
            block.bn = nn.Identity()
    return module


@torch.no_grad()
def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return `norm(conv(x))` as one convolution: w * g / s, and b - mean * g / s."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    conv.weight.mul_(gain.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * gain)
    return conv
