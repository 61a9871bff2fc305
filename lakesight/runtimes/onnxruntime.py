"""ONNX Runtime: .onnx on a CPU, or on an NVIDIA GPU through its CUDA and TensorRT providers."""

import hashlib
import importlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.cache import cache_folder
from lakesight.errors import UserError
from lakesight.models.base import Image, RuntimeName
from lakesight.runtimes.base import (
    Network,
    RuntimeOptions,
    Tensors,
    check_images,
    usable_cpus,
)
from lakesight.runtimes.onnx_graph import with_pixels

GPU_BATCH = 16
"""Pictures in one call to a GPU; a smaller batch is filled up, so that one kernel serves all."""


class OnnxCpu:
    """A network on the CPU: one picture a call, as many calls at once as there are threads."""

    name: RuntimeName = "onnxruntime"
    device = "cpu"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        self.precision = options.precision
        self._network = network
        self._session = _session(with_pixels(path, network), [("CPUExecutionProvider", {})])
        self._names = [output.name for output in self._session.get_outputs()]
        self._threads = ThreadPoolExecutor(options.num_threads or usable_cpus())

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        check_images(images, self._network)
        found = list(self._threads.map(self._one, images))
        return _stacked(self._names, found)

    def _one(self, image: Image) -> list[npt.NDArray[np.generic]]:
        return _run(self._session, image[None])


class OnnxGpu:
    """A network on an NVIDIA GPU, in batches of one size."""

    name: RuntimeName = "onnxruntime"
    device = "cuda"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        self.precision = options.precision
        self._network = network
        _load_libraries(self.name)
        model = with_pixels(path, network)
        self._session = _session(model, _providers(self.name, options, model))
        self._names = [output.name for output in self._session.get_outputs()]
        size = self._session.get_inputs()[0].shape[0]
        self._batch = size if isinstance(size, int) else GPU_BATCH
        self._lock = threading.Lock()

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        check_images(images, self._network)
        starts = range(0, len(images), self._batch)
        with self._lock:
            found = [self._some(images[start : start + self._batch]) for start in starts]
        return _stacked(self._names, found)

    def _some(self, images: Sequence[Image]) -> list[npt.NDArray[np.generic]]:
        pixels = np.zeros((self._batch, *images[0].shape), np.uint8)
        for index, image in enumerate(images):
            pixels[index] = image
        return [tensor[: len(images)] for tensor in _run(self._session, pixels)]


class OnnxTensorRt(OnnxGpu):
    """The same, compiled by TensorRT for the GPU."""

    name: RuntimeName = "tensorrt"


def _session(model: bytes, providers: list[tuple[str, dict[str, Any]]]) -> Any:
    """Open a session; the provider that was asked for must really be in it."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, settings, providers=providers)
    if session.get_providers()[0] != providers[0][0]:
        raise UserError(
            f"ONNX Runtime could not start {providers[0][0]} and fell back to "
            f"{session.get_providers()[0]}: run `lakesight doctor`, or choose another --runtime"
        )
    return session


def _load_libraries(name: RuntimeName) -> None:
    """Load CUDA's and TensorRT's libraries from their wheels, where no loader looks for them.

    TF32 is turned off in this process: it keeps 10 bits of each number, and f32 was asked for.
    """
    import onnxruntime

    # TensorRT's provider has no option for it; NVIDIA's libraries read this when they compile.
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    onnxruntime.preload_dlls()
    if name == "tensorrt":
        importlib.import_module("tensorrt")


def _providers(
    name: RuntimeName, options: RuntimeOptions, model: bytes
) -> list[tuple[str, dict[str, Any]]]:
    cuda: tuple[str, dict[str, Any]] = ("CUDAExecutionProvider", {"use_tf32": "0"})
    if name != "tensorrt":
        return [cuda]
    # ONNX Runtime names an engine by the graph alone: what has other weights, or was compiled with
    # TF32, must not be found.
    key = hashlib.sha256(model + b" without TF32")
    cache = cache_folder(f"tensorrt/{key.hexdigest()[:32]}")
    engine = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_bf16_enable": str(int(options.precision == "bf16")),
        "trt_fp16_enable": str(int(options.precision == "f16")),
    }
    return [("TensorrtExecutionProvider", engine), cuda]


def _run(session: Any, pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.generic]]:
    found: list[npt.NDArray[np.generic]] = session.run(None, {session.get_inputs()[0].name: pixels})
    return found


def _stacked(names: list[str], found: list[list[npt.NDArray[np.generic]]]) -> Tensors:
    return {
        name: np.concatenate([tensors[slot] for tensors in found])
        for slot, name in enumerate(names)
    }
