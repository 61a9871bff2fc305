"""PyTorch: a module, or a program saved by `torch.export` (.pt2) or TorchScript.

Opening such a file runs what is in it: a .pt2 may hold pickles and compiled libraries, and a
TorchScript program may call what reads and writes files. `auto` never does.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models.base import Image, Precision, RuntimeName
from lakesight.runtimes.base import (
    Device,
    Network,
    RuntimeOptions,
    Tensors,
    check_images,
    check_outputs,
)

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

    def __init__(
        self,
        module: nn.Module,
        network: Network,
        options: RuntimeOptions,
        device: Device = "cpu",
    ) -> None:
        self.device: str = device
        self.precision: Precision = options.precision
        self._network = network
        dtype = DTYPES.get(options.precision, torch.float32)
        self._pixels = Pixels(network, dtype).to(device)
        self._module = _placed(module, device, dtype)
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)
        if device == "cuda":
            _keep_every_digit()

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


def _placed(module: nn.Module, device: Device, dtype: torch.dtype) -> nn.Module:
    """Return the module on that device, in that type: a copy, unless it is there already."""
    if all(
        tensor.device.type == device and (not tensor.is_floating_point() or tensor.dtype == dtype)
        for tensor in _tensors(module)
    ):
        return module
    return copy.deepcopy(module).to(device, dtype)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _keep_every_digit() -> None:
    """Turn TF32 off in this process: it keeps 10 bits of each number, and f32 was asked for."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def open_on_cpu(path: Path, network: Network, options: RuntimeOptions) -> TorchModule:
    """Return a `.pt2` or `.torchscript` file as a runtime on the CPU.

    Its outputs are named `output_0`, … or as its dict names them. Raises UserError for another
    precision than the file's own, and for what torch cannot open.
    """
    return _open(path, network, options, "cpu")


def open_on_cuda(path: Path, network: Network, options: RuntimeOptions) -> TorchModule:
    """Return a `.pt2` or `.torchscript` file as a runtime on an NVIDIA GPU."""
    return _open(path, network, options, "cuda")


def _open(path: Path, network: Network, options: RuntimeOptions, device: Device) -> TorchModule:
    if options.precision != "f32":
        raise UserError(
            f"{path.name} holds a program, which computes as it was saved, not in "
            f"{options.precision}: ask for f32"
        )
    load = _script if path.suffix == ".torchscript" else _program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.export is TorchScript's successor
            module = load(path, device)
    except (RuntimeError, ValueError, OSError, BadZipFile) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"torch cannot read {path.name}: {first}. Export it again") from error
    return TorchModule(module, network, options, device)


def _script(path: Path, device: Device) -> nn.Module:
    # A frozen program's constants are moved here or never.
    script: nn.Module = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    return script


def _program(path: Path, device: Device) -> nn.Module:
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(torch.export.load(path), device).module()
