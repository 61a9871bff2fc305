"""TensorRT engines, run from torch's memory on an NVIDIA GPU."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lakesight.models.base import Image, RuntimeName
from lakesight.runtimes.base import (
    CompiledElsewhereError,
    Network,
    RuntimeOptions,
    Tensors,
    check_images,
)
from lakesight.runtimes.torch import Pixels


class TensorRt:
    """An engine, in batches of the size that it was compiled for: one kernel serves all."""

    name: RuntimeName = "tensorrt"
    device = "cuda"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        import tensorrt

        self.precision = options.precision
        self._network = network
        # TensorRT needs both for as long as the engine lives.
        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise CompiledElsewhereError(
                f"{path.name} was compiled for another GPU or another TensorRT: export it again "
                "on this machine"
            )
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._is_input(name, tensorrt)]
        self._input = inputs[0]
        self._outputs = [name for name in names if name not in inputs]
        self._batch = int(self._engine.get_tensor_shape(self._input)[0])
        self._pixels = Pixels(network, torch.float32).to(self.device)
        self._lock = threading.Lock()

    def _is_input(self, name: str, tensorrt: Any) -> bool:
        return bool(self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT)

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        check_images(images, self._network)
        starts = range(0, len(images), self._batch)
        with self._lock:
            found = [self._some(images[start : start + self._batch]) for start in starts]
        return {name: np.concatenate([part[name] for part in found]) for name in self._outputs}

    @torch.inference_mode()
    def _some(self, images: Sequence[Image]) -> Tensors:
        pixels = np.zeros((self._batch, *images[0].shape), np.uint8)
        pixels[: len(images)] = images
        values = self._pixels(torch.from_numpy(pixels).to(self.device)).contiguous()
        tensors = {name: self._empty(name) for name in self._outputs}
        for name, tensor in [(self._input, values), *tensors.items()]:
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream()
        self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return {name: tensor[: len(images)].cpu().numpy() for name, tensor in tensors.items()}

    def _empty(self, name: str) -> Tensor:
        return torch.empty(tuple(self._engine.get_tensor_shape(name)), device=self.device)
