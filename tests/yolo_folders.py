"""Small YOLOs with random weights as model folders, which find something on any picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lakesight.exporting.base import Source, as_input
from lakesight.models.base import Image, Licences, ModelCard
from lakesight.models.yolo.architecture import Size, Task, named
from lakesight.models.yolo.folder import Contract, save, view_of
from lakesight.models.yolo.heads import Classify, Detect
from lakesight.models.yolo.network import Network
from lakesight.models.yolo.outputs import Raw
from lakesight.runtimes.base import Tensors

SIDE = 96
LABELS = ("cat", "dog", "bird")


def build_network(task: Task, size: Size, num_classes: int, **more: Any) -> Network:
    """Return a network of a published size with random weights, or with other factors than its."""
    return Network(named(task, size, num_classes, **more))


def tiny(task: Task, **more: Any) -> Network:
    """Return a network of every layer, a fourth as wide as n, that sees pictures apart."""
    torch.manual_seed(0)
    network = build_network(task, "n", len(LABELS), num_keypoints=4, width=0.0625, **more)
    pixels = torch.rand(8, 3, 3, 3).repeat_interleave(SIDE // 3, 2).repeat_interleave(SIDE // 3, 3)
    _take_statistics(network, pixels)
    head = network.head
    if not isinstance(head, Classify):
        _spread_scores(network, head, pixels)
    return network.eval()


@torch.no_grad()
def _take_statistics(network: Network, pixels: Tensor) -> None:
    """Let every BatchNorm whiten what these pictures give; else all pictures look the same."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(pixels)
    network.eval()


@torch.no_grad()
def _spread_scores(network: Network, head: Detect, pixels: Tensor) -> None:
    """Let about one anchor in six score above a half, and none reach 1."""
    logits = cast("Raw", network(pixels)).scores
    for branch in cast("list[nn.Sequential]", head.cv3):
        last = cast("nn.Conv2d", branch[-1])
        bias = cast("Tensor", last.bias)
        bias.sub_(logits.mean((0, 2))).div_(logits.std()).sub_(1)
        last.weight.div_(logits.std())


def write(folder: Path, task: Task, **more: Any) -> ModelCard:
    """Write such a network as a model folder."""
    network = tiny(task, **more)
    return save(
        folder,
        network.state_dict(),
        Contract(**network.architecture.model_dump()),
        name=f"tiny-{task}",
        labels=LABELS,
        view=view_of(network.architecture, SIDE),
        licences=Licences(weights="Apache-2.0", data="CC0-1.0"),
        provenance="Random weights, made by a test.",
    )


def by_torch(source: Source, images: Sequence[Image]) -> Tensors:
    """Return what the weights give for `(H, W, 3)` uint8 pictures, as `Reader` wants it called."""
    pixels = torch.from_numpy(np.concatenate([as_input(image) for image in images]))
    with torch.inference_mode():
        found = source.module(pixels)
    return {name: one.numpy() for name, one in zip(source.outputs, found, strict=True)}


def check_same_objects(
    found: Sequence[Sequence[Mapping[str, Any]]],
    wanted: Sequence[Sequence[Mapping[str, Any]]],
    atol_px: float = 0.1,
) -> None:
    """Fail unless every picture has the same objects; those of nearly one score in any order."""
    for one, other in zip(found, wanted, strict=True):
        assert len(one) == len(other)
        keys = [
            np.array([(seen["class_id"] * 1e4, *seen["box"]) for seen in each]).reshape(-1, 5)
            for each in (one, other)
        ]
        near = np.abs(keys[0][:, None] - keys[1][None]).max(2) < atol_px
        assert near.any(0).all()
        assert near.any(1).all()
