"""Every engine: what it reads, what brings it, which class opens a file with it."""

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakesight.models.base import Precision, RuntimeName
from lakesight.runtimes.base import Device, Network, Runtime, RuntimeOptions
from lakesight.runtimes.graphs import Graph


def installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def num_nvidia_gpus() -> int:
    """Return how many NVIDIA GPUs the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def onnx_built() -> tuple[str, ...]:
    """Return the providers that ONNX Runtime was built with."""
    if not installed("onnxruntime"):
        return ()
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def _built_with_cuda() -> bool:
    return "CUDAExecutionProvider" in onnx_built()


def _built_with_tensorrt() -> bool:
    return "TensorrtExecutionProvider" in onnx_built()


def _has_gpu() -> bool:
    return num_nvidia_gpus() > 0


def _torch_with_cuda() -> bool:
    if not num_nvidia_gpus():
        return False
    import torch

    return torch.cuda.is_available()


@dataclass(frozen=True)
class Engine:
    """One engine on one device."""

    runtime: RuntimeName
    device: Device
    reads: tuple[str, ...]
    """Endings of the files, or folders, that it opens."""
    opens: str
    """`module:callable`, called with path, network and options."""
    module: str
    """What must be importable."""
    packages: tuple[str, ...]
    """The distributions that bring it."""
    install: str
    reason: str
    """Why `auto` takes it where it stands in the order, in one clause."""
    precisions: tuple[Precision, ...] = ("f32",)
    """How it can compute what is stored in f32; what is stored otherwise, it runs as it is."""
    opens_graph: str | None = None
    """`module:callable`, called with the path of one graph of several, and a number of threads."""
    runs_code: bool = False
    """Opening a file runs code that is in it, as machine code, a program or a pickle: only where
    it is asked for by name."""
    built: Callable[[], bool] = lambda: True
    """Whether the module that is installed was built for the device."""
    ready: Callable[[], bool] = lambda: True
    """Whether the machine has what it needs besides the module."""

    def fits(self, wanted: RuntimeName, *, opens: bool = True) -> bool:
        """Return whether it is the wanted runtime, or may be taken by `auto`.

        `opens`: for a file; False for weights, which torch runs and which hold no code.
        """
        return self.runtime == wanted or (wanted == "auto" and not (opens and self.runs_code))

    def here(self) -> bool:
        """Return whether it runs on this machine."""
        return installed(self.module) and self.built() and self.ready()

    def can_use_gpu(self, *, here: bool) -> bool:
        """Return whether it runs on the GPU of a machine that has one.

        `here`: with what is installed on this machine; else with everything that could be.
        """
        return self.device == "cuda" and (not here or (installed(self.module) and self.built()))

    def open(self, path: Path, network: Network, options: RuntimeOptions) -> Runtime:
        """Return a file as a runtime."""
        opened: Runtime = _named(self.opens)(path, network, options)
        return opened

    def open_graph(self, path: Path, num_threads: int | None = None) -> Graph:
        """Return one graph of a model that has several."""
        assert self.opens_graph is not None
        opened: Graph = _named(self.opens_graph)(path, num_threads)
        return opened


def _named(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    named: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return named


_GPU = "pip install 'lakesight[gpu]' on a machine with an NVIDIA GPU"
_TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

ENGINES: tuple[Engine, ...] = (
    Engine(
        "tensorrt",
        "cuda",
        (".engine",),
        "lakesight.runtimes.tensorrt:TensorRt",
        "tensorrt",
        _TENSORRT,
        _GPU,
        "its engine was built for this GPU",
        ready=_torch_with_cuda,
    ),
    Engine(
        "tensorrt",
        "cuda",
        (".onnx",),
        "lakesight.runtimes.onnxruntime:OnnxTensorRt",
        "tensorrt",
        _TENSORRT,
        _GPU,
        "it compiles the network for this GPU",
        ("f32", "bf16", "f16"),
        built=_built_with_tensorrt,
        ready=_has_gpu,
    ),
    Engine(
        "onnxruntime",
        "cuda",
        (".onnx",),
        "lakesight.runtimes.onnxruntime:OnnxGpu",
        "onnxruntime",
        ("onnxruntime-gpu",),
        _GPU,
        "there is a GPU, and no TensorRT",
        built=_built_with_cuda,
        ready=_has_gpu,
    ),
    Engine(
        "torch",
        "cuda",
        (".pt2", ".torchscript"),
        "lakesight.runtimes.torch:open_on_cuda",
        "torch",
        ("torch",),
        "pip install torch",
        "there is a GPU, and nothing else here uses it",
        ("f32", "bf16"),
        runs_code=True,
        ready=_torch_with_cuda,
    ),
    Engine(
        "openvino",
        "cpu",
        (".xml", ".onnx", ".pb", ".tflite", ".savedmodel"),
        "lakesight.runtimes.openvino:OpenVino",
        "openvino",
        ("openvino",),
        "pip install openvino",
        "it keeps every core busy",
        ("f32", "bf16"),
        opens_graph="lakesight.runtimes.graphs:OpenVinoGraph",
    ),
    Engine(
        "onnxruntime",
        "cpu",
        (".onnx",),
        "lakesight.runtimes.onnxruntime:OnnxCpu",
        "onnxruntime",
        ("onnxruntime",),
        "pip install onnxruntime",
        "OpenVINO is not installed",
        opens_graph="lakesight.runtimes.graphs:OnnxGraph",
    ),
    Engine(
        "ncnn",
        "cpu",
        (".param",),
        "lakesight.runtimes.ncnn:Ncnn",
        "ncnn",
        ("ncnn",),
        "pip install ncnn",
        "there is no export that OpenVINO or ONNX Runtime reads",
    ),
    Engine(
        "litert",
        "cpu",
        (".tflite",),
        "lakesight.runtimes.litert:LiteRt",
        "ai_edge_litert",
        ("ai-edge-litert",),
        "pip install ai-edge-litert",
        "OpenVINO, which reads .tflite too, is not installed",
    ),
    Engine(
        "executorch",
        "cpu",
        (".pte",),
        "lakesight.runtimes.executorch:ExecuTorch",
        "executorch",
        ("executorch",),
        "pip install executorch",
        "it is the only export that runs here",
    ),
    Engine(
        "torch",
        "cpu",
        (".pt2", ".torchscript"),
        "lakesight.runtimes.torch:open_on_cpu",
        "torch",
        ("torch",),
        "pip install torch",
        "only torch reads the file",
        ("f32", "bf16"),
        runs_code=True,
    ),
    Engine(
        "mnn",
        "cpu",
        (".mnn",),
        "lakesight.runtimes.mnn:Mnn",
        "MNN",
        ("MNN",),
        "pip install MNN",
        "only MNN reads the file",
    ),
    Engine(
        "aotinductor",
        "cpu",
        (".aoti",),
        "lakesight.runtimes.aotinductor:AotInductor",
        "torch",
        ("torch",),
        "pip install torch",
        "it was compiled for this kind of CPU",
        runs_code=True,
    ),
)
"""The fastest first, as `benchmarks/runtimes.py` measures them; a new engine is one entry."""


ENDINGS = tuple(sorted({ending for engine in ENGINES for ending in engine.reads}))
"""Of everything that some engine reads."""


def readers(file_name: str) -> tuple[Engine, ...]:
    """Return the engines that read a file, by the ending of its name, installed or not."""
    return tuple(engine for engine in ENGINES if Path(file_name).suffix in engine.reads)
