"""How weights move: which of them decay, how fast they learn when, and their running mean."""

import math

import torch
from torch import nn

from lakesight.models.yolo.network import Network
from lakesight.training.settings import TrainSettings

EMA_RAMP = 2000
"""Updates in which the running mean's decay rises to its value."""
BIAS_WARMUP = {"sgd": 0.1, "adamw": 0.0}
"""Where the learning rate of biases starts; a step of AdamW is the rate itself, whatever the
gradient."""


def optimizer_of(network: Network, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimizer: decay for weights only, and biases apart for their warm-up."""
    weights: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            is_bias = name == "bias"
            group = biases if is_bias else others if parameter.ndim < 2 else weights
            group.append(parameter)
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay, "is_bias": False},
        {"params": others, "weight_decay": 0.0, "is_bias": False},
        {"params": biases, "weight_decay": 0.0, "is_bias": True},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, settings.learning_rate, (settings.momentum, 0.999))
    return torch.optim.SGD(groups, settings.learning_rate, settings.momentum, nesterov=True)


def set_rates(optimizer: torch.optim.Optimizer, settings: TrainSettings, epochs: float) -> None:
    """Set the learning rates that are right after so many epochs."""
    cosine = (1 + math.cos(math.pi * min(1.0, epochs / settings.epochs))) / 2
    rate = settings.learning_rate * (settings.final_factor + (1 - settings.final_factor) * cosine)
    warm = min(1.0, epochs / settings.warmup_epochs) if settings.warmup_epochs else 1.0
    for group in optimizer.param_groups:
        start = BIAS_WARMUP[settings.optimizer] if group["is_bias"] else 0.0
        group["lr"] = start + warm * (rate - start)


def follow(mean: nn.Module, network: nn.Module, decay: float, num_updates: int) -> None:
    """Move a running mean after the weights, which have been updated so many times."""
    decay *= 1 - math.exp(-num_updates / EMA_RAMP)
    now = network.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(now[name].detach(), 1 - decay)


def freeze(network: Network, num_layers: int) -> None:
    """Keep the weights of the first layers as they are."""
    for layer in list(network.model)[:num_layers]:
        layer.requires_grad_(requires_grad=False)


def keep_still(network: Network, num_layers: int) -> None:
    """Keep the statistics of the first layers as they are, too."""
    for layer in list(network.model)[:num_layers]:
        layer.eval()
