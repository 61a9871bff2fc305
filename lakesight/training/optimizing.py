"""How weights move: which of them decay, how fast they learn when, and their running mean."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lakesight.training.muon import Muon
from lakesight.training.settings import LoopSettings

EMA_RAMP = 2000
"""Updates in which the running mean's decay rises to its value."""
BIAS_WARMUP = {"sgd": 0.1, "adamw": 0.0, "muon": 0.0}
"""Where the learning rate of biases starts; a step of AdamW is the rate itself, whatever the
gradient."""
MUON_RATE = 3.0
"""The learning rate of Muon's matrices beside that of what AdamW moves."""


WEIGHTS, OTHERS, BIASES, MATRICES = range(4)
"""Kinds of what learns: only the first and the last decay."""


class Together:
    """Several optimizers, each of its own parameters, as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the groups of all of them, to be changed in place."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """Move the weights."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the states by the optimizers' numbers."""
        return {str(number): part.state_dict() for number, part in enumerate(self.parts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        for number, part in enumerate(self.parts):
            part.load_state_dict(state[str(number)])


def optimizer_of(
    network: nn.Module,
    settings: LoopSettings,
    scales: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer | Together:
    """Return the optimizer: decay for weights only, and biases apart for their warm-up.

    `scales` are factors of the learning rate; 1 for what it does not name.
    """
    found: dict[tuple[float, int], list[nn.Parameter]] = {}
    known: set[nn.Parameter] = set()  # two modules may share one
    matrices: set[Tensor] = _matrices(network) if settings.optimizer == "muon" else set()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in known:
                continue
            known.add(parameter)
            kind = BIASES if name == "bias" else OTHERS if parameter.ndim < 2 else WEIGHTS
            scale = (scales or {}).get(parameter, 1.0)
            if parameter in matrices:
                kind, scale = MATRICES, scale * MUON_RATE
            found.setdefault((scale, kind), []).append(parameter)
    groups = [
        {
            "params": found[scale, kind],
            "weight_decay": settings.weight_decay if kind in (WEIGHTS, MATRICES) else 0.0,
            "is_bias": kind == BIASES,
            "is_matrix": kind == MATRICES,
            "scale": scale,
        }
        for scale, kind in sorted(found, key=lambda one: (one[1] == MATRICES, -one[0], one[1]))
    ]
    rate, momentum = settings.learning_rate, settings.momentum
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum, nesterov=True)
    others = [group for group in groups if not group["is_matrix"]]
    parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, rate, (momentum, 0.999))]
    if len(others) < len(groups):
        kept = [group for group in groups if group["is_matrix"]]
        parts.append(Muon(kept, rate))
    return Together(parts) if len(parts) > 1 else parts[0]


def _matrices(network: nn.Module) -> set[Tensor]:
    """Return the weights of the linear maps inside a transformer's layers: what Muon is for."""
    return {
        module.weight
        for layers in network.modules()
        if isinstance(layers, nn.ModuleList)
        for module in layers.modules()
        if isinstance(module, nn.Linear)
    }


def set_rates(
    optimizer: torch.optim.Optimizer | Together, settings: LoopSettings, epochs: float
) -> None:
    """Set the learning rates that are right after so many epochs."""
    cosine = (1 + math.cos(math.pi * min(1.0, epochs / settings.epochs))) / 2
    rate = settings.learning_rate * (settings.final_factor + (1 - settings.final_factor) * cosine)
    warm = min(1.0, epochs / settings.warmup_epochs) if settings.warmup_epochs else 1.0
    for group in optimizer.param_groups:
        start = BIAS_WARMUP[settings.optimizer] if group["is_bias"] else 0.0
        group["lr"] = group["scale"] * (start + warm * (rate - start))


def learning(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that a training changes, by name: they are the network's own.

    Weights with a gradient, and what the modules that have such weights keep beside them (the
    statistics of a normalisation). What is frozen is neither.
    """
    found: dict[str, Tensor] = {}
    for path, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        learns = {name for name, weight in own.items() if weight.requires_grad}
        kept = dict(module.named_buffers(recurse=False)) if learns else {}
        for name, tensor in {**{name: own[name] for name in learns}, **kept}.items():
            found[f"{path}.{name}".lstrip(".")] = tensor
    saved = network.state_dict()
    return {name: found[name].detach() for name in saved if name in found}


@torch.no_grad()
def put(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Write tensors into others of the same names."""
    for name, tensor in into.items():
        tensor.copy_(values[name])


class RunningMean:
    """The mean of the weights over a training's last updates: less noisy than they are."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.live = learning(network)
        """The network's own tensors."""
        self.values = {name: tensor.clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def follow(self, num_updates: int) -> None:
        """Move after the weights, which have been updated so many times."""
        decay = self.decay * (1 - math.exp(-num_updates / EMA_RAMP))
        for name, now in self.live.items():
            if now.is_floating_point():
                self.values[name].lerp_(now, 1 - decay)
            else:
                self.values[name].copy_(now)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Have the network be the mean, in evaluation, for as long as the context lasts."""
        now = {name: tensor.clone() for name, tensor in self.live.items()}
        modes = {module: module.training for module in self.network.modules()}
        put(self.live, self.values)
        self.network.eval()
        try:
            yield
        finally:
            put(self.live, now)
            for module, mode in modes.items():
                module.training = mode
