"""PyTorch: a module, or a program saved by `torch.export` (.pt2)."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lakesight.models.base import Image, RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions, Tensors, check_images, check_outputs

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class Pixels(nn.Module):
    """uint8 `(N, H, W, 3)` RGB to what the network was trained on."""

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(network.mean or (0.0, 0.0, 0.0)))
        self.register_buffer("scale", torch.tensor(network.scale or (1.0, 1.0, 1.0)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return `(N, H, W, 3)` or `(N, 3, H, W)`, as the network's layout says."""
        values = pixels.flip(3) if self.network.channels == "bgr" else pixels
        values = ((values.float() - self.mean) / self.scale).to(self.dtype)
        return values.permute(0, 3, 1, 2) if self.network.layout == "NCHW" else values


class TorchModule:
    """A torch module as a runtime; pictures run one by one, so none sees its neighbours."""

    name: RuntimeName = "torch"

    def __init__(self, module: nn.Module, network: Network, options: RuntimeOptions) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = options.precision
        self._network = network
        dtype = DTYPES.get(options.precision, torch.float32)
        self._pixels = Pixels(network, dtype).to(self.device)
        self._module = module.to(self.device, dtype)
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        check_images(images, self._network)
        found = [self._one(image) for image in images]
        names = self._network.outputs or tuple(found[0])
        check_outputs(names, list(found[0]), "the module")
        return {name: np.concatenate([tensors[name] for tensors in found]) for name in names}

    @torch.inference_mode()
    def _one(self, image: Image) -> Tensors:
        pixels = torch.from_numpy(np.array(image)).to(self.device)[None]
        tensors = _named(self._module(self._pixels(pixels)))
        return {name: _to_numpy(tensor) for name, tensor in tensors.items()}


def _named(output: Any) -> Mapping[str, Tensor]:
    """Return a module's output, whatever its form, by name."""
    if isinstance(output, Tensor):
        return {"output_0": output}
    if isinstance(output, Mapping):
        return output
    return {f"output_{index}": tensor for index, tensor in enumerate(output)}


def _to_numpy(tensor: Tensor) -> np.ndarray:
    values = tensor.float() if tensor.is_floating_point() else tensor
    return values.cpu().numpy()


def open_file(path: Path, network: Network, options: RuntimeOptions) -> TorchModule:
    """Return a `.pt2` or `.torchscript` file as a runtime.

    Its outputs are named `output_0`, … or as its dict names them.
    """
    if path.suffix == ".torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.export is its successor
            module = torch.jit.load(path)  # type: ignore[no-untyped-call]
        return TorchModule(module, network, options)
    return TorchModule(torch.export.load(path).module(), network, options)
