"""The network a second time, as functions over the published table of layers."""

import torch
from torch import Tensor
from torch.nn import functional

LAYERS: list[tuple[str, list[int]]] = [
    *[("conv", [-1]), ("conv", [-1]), ("c2f+", [-1])],
    *[("conv", [-1]), ("c2f+", [-1])] * 3,
    ("sppf", [-1]),
    *[("up", [-1]), ("cat", [-1, 6]), ("c2f", [-1])],
    *[("up", [-1]), ("cat", [-1, 4]), ("c2f", [-1])],
    *[("conv", [-1]), ("cat", [-1, 12]), ("c2f", [-1])],
    *[("conv", [-1]), ("cat", [-1, 9]), ("c2f", [-1])],
]
"""The published table of layers: kind and the layers that each reads; + adds a block's input."""


class Reference:
    """The same network written a second time: functions over the tensors of its state dict."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.conv.weight"]
        x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
        mean, var = self.tensors[f"{name}.bn.running_mean"], self.tensors[f"{name}.bn.running_var"]
        gain, bias = self.tensors[f"{name}.bn.weight"], self.tensors[f"{name}.bn.bias"]
        return functional.silu(functional.batch_norm(x, mean, var, gain, bias, eps=1e-3))

    def c2f(self, name: str, x: Tensor, add: bool) -> Tensor:
        x = self.conv(f"{name}.cv1", x)
        half = x.shape[1] // 2
        parts, number = [x[:, :half], x[:, half:]], 0
        while f"{name}.m.{number}.cv1.conv.weight" in self.tensors:
            y = self.conv(f"{name}.m.{number}.cv1", parts[-1])
            y = self.conv(f"{name}.m.{number}.cv2", y)
            parts.append(parts[-1] + y if add else y)
            number += 1
        return self.conv(f"{name}.cv2", torch.cat(parts, 1))

    def sppf(self, name: str, x: Tensor) -> Tensor:
        x = self.conv(f"{name}.cv1", x)
        pooled = [functional.max_pool2d(x, side, 1, side // 2) for side in (5, 9, 13)]
        return self.conv(f"{name}.cv2", torch.cat([x, *pooled], 1))

    def layer(self, number: int, kind: str, inputs: list[Tensor]) -> Tensor:
        name = f"model.{number}"
        match kind:
            case "conv":
                return self.conv(name, inputs[0], stride=2)
            case "up":
                return inputs[0].repeat_interleave(2, 2).repeat_interleave(2, 3)
            case "cat":
                return torch.cat(inputs, 1)
            case "sppf":
                return self.sppf(name, inputs[0])
            case _:
                return self.c2f(name, inputs[0], add=kind == "c2f+")

    def branch(self, name: str, levels: list[Tensor]) -> Tensor:
        maps = []
        for number, level in enumerate(levels):
            x = self.conv(f"{name}.{number}.0", level)
            x = self.conv(f"{name}.{number}.1", x)
            last = f"{name}.{number}.2"
            x = functional.conv2d(x, self.tensors[f"{last}.weight"], self.tensors[f"{last}.bias"])
            maps.append(x.flatten(2))
        return torch.cat(maps, 2)

    def prototypes(self, level: Tensor) -> Tensor:
        name = "model.22.proto"
        x = self.conv(f"{name}.cv1", level)
        weight, bias = (
            self.tensors[f"{name}.upsample.weight"],
            self.tensors[f"{name}.upsample.bias"],
        )
        x = functional.conv_transpose2d(x, weight, bias, stride=2)
        return self.conv(f"{name}.cv3", self.conv(f"{name}.cv2", x))
