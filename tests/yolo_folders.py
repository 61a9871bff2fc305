"""Small YOLOs with random weights as model folders, which find something on any picture."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lakesight.models.base import Licences, ModelCard
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.folder import Contract, save, view_of
from lakesight.models.yolo.heads import Classify
from lakesight.models.yolo.network import Network, build_network

SIDE = 96
LABELS = ("cat", "dog", "bird")


def tiny(task: Task, **more: Any) -> Network:
    """Return a network of every layer, a fourth as wide as n, whose scores spread over 0..1."""
    torch.manual_seed(0)
    network = build_network(task, "n", len(LABELS), num_keypoints=4, width=0.0625, **more)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_var, module.weight):
                cast("Tensor", values).data.uniform_(0.5, 1.5)
            for values in (module.running_mean, module.bias):
                cast("Tensor", values).data.normal_(0, 0.2)
    head = network.head
    if not isinstance(head, Classify):
        for branch in cast("list[nn.Sequential]", head.cv3):
            last = cast("nn.Conv2d", branch[-1])
            last.weight.data.mul_(8)
            cast("Tensor", last.bias).data.fill_(-1)
    return network.eval()


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
