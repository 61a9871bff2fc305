"""Which runtime runs a file of weights here, and why."""

import ctypes
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, Precision, Runtime, RuntimeOptions
from lakesight.runtimes.onnx_graph import external_files

log = logging.getLogger(__name__)

READERS: dict[str, tuple[RuntimeName, ...]] = {
    ".onnx": ("tensorrt", "onnxruntime", "openvino"),
    ".pb": ("openvino",),
    ".tflite": ("openvino",),
    ".xml": ("openvino",),
    ".pt2": ("torch",),
}
"""File ending to the runtimes that read it."""

INSTALL: dict[RuntimeName, str] = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime",
    "tensorrt": "pip install 'lakesight[gpu]' on a machine with an NVIDIA GPU",
    "torch": "pip install torch",
}


@dataclass(frozen=True)
class Choice:
    """A runtime, the device it runs on, and the reason in one clause."""

    runtime: RuntimeName
    device: str
    reason: str


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


def _onnx_built() -> tuple[str, ...]:
    """Return the providers that ONNX Runtime was built with."""
    if not installed("onnxruntime"):
        return ()
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def _onnx_providers() -> tuple[str, ...]:
    """Return those that this machine can use, too."""
    return tuple(name for name in _onnx_built() if name.startswith("CPU") or num_nvidia_gpus())


def _openvino() -> Choice | None:
    if not installed("openvino"):
        return None
    return Choice("openvino", "cpu", "it keeps every core busy")


def _tensorrt() -> Choice | None:
    if "TensorrtExecutionProvider" not in _onnx_providers() or not installed("tensorrt"):
        return None
    return Choice("tensorrt", "cuda", "it compiles the network for this GPU")


def _cuda() -> Choice | None:
    if "CUDAExecutionProvider" not in _onnx_providers():
        return None
    return Choice("onnxruntime", "cuda", "there is a GPU, and no TensorRT")


def _onnx_cpu() -> Choice | None:
    if not installed("onnxruntime"):
        return None
    return Choice("onnxruntime", "cpu", "OpenVINO is not installed")


def _torch() -> Choice | None:
    if not installed("torch"):
        return None
    return Choice("torch", "cuda" if num_nvidia_gpus() else "cpu", "only torch reads the file")


FASTEST_FIRST: tuple[Callable[[], Choice | None], ...] = (
    _tensorrt,
    _cuda,
    _openvino,
    _onnx_cpu,
    _torch,
)

BF16: tuple[RuntimeName, ...] = ("openvino", "tensorrt", "torch")
"""The runtimes that compute in bf16; every one computes in f32."""


def choices(file_name: str, precision: Precision = "f32") -> list[Choice]:
    """Return what can run this file here, the fastest first."""
    readers = READERS.get(Path(file_name).suffix, ())
    found = (offer() for offer in FASTEST_FIRST)
    able = [choice for choice in found if choice is not None and choice.runtime in readers]
    return [choice for choice in able if precision == "f32" or choice.runtime in BF16]


def choose(file_name: str, wanted: RuntimeName = "auto", precision: Precision = "f32") -> Choice:
    """Return the wanted runtime, or for `auto` the fastest that reads the file on this machine.

    Raises UserError, with what to install, when there is none.
    """
    check_reads(file_name, wanted, precision)
    found = choices(file_name, precision)
    if wanted == "auto" and found:
        return found[0]
    for choice in found:
        if choice.runtime == wanted:
            return Choice(choice.runtime, choice.device, "it was asked for")
    readers = READERS.get(Path(file_name).suffix, ())
    missing = readers[-1:] if wanted == "auto" else (wanted,)
    advice = " or ".join(INSTALL[name] for name in missing) or "convert it to ONNX"
    raise UserError(f"nothing installed here runs {file_name} with runtime {wanted}: {advice}")


def check_reads(file_name: str, wanted: RuntimeName, precision: Precision) -> None:
    """Raise UserError where the wanted runtime can nowhere run the file in this precision."""
    readers = READERS.get(Path(file_name).suffix, ())
    if wanted != "auto" and wanted not in readers:
        raise UserError(
            f"{wanted} does not read {file_name}; {' and '.join(readers) or 'no runtime'} can. "
            "Choose another runtime, or leave it to auto."
        )
    if wanted != "auto" and precision == "bf16" and wanted not in BF16:
        raise UserError(f"{wanted} computes in f32 only; {', '.join(BF16)} can use bf16")


def uses_gpu(file_name: str, wanted: RuntimeName = "auto", *, here: bool = True) -> bool:
    """Return whether the file would run on the GPU of a machine that has one.

    `here`: with what is installed on this machine; else with everything that could be.
    """
    readers = READERS.get(Path(file_name).suffix, ())
    wanted_here = readers if wanted == "auto" else tuple({wanted} & set(readers))
    on_gpu = {"torch"} if here else {"torch", "tensorrt", "onnxruntime"}
    if on_gpu & set(wanted_here):
        return True
    built = _onnx_built() if {"tensorrt", "onnxruntime"} & set(wanted_here) else ()
    return "CUDAExecutionProvider" in built


def open_network(
    path: Path, network: Network, options: RuntimeOptions, wanted: RuntimeName = "auto"
) -> Runtime:
    """Load a file of weights into the runtime that `choose` picks, and log which and why.

    Raises UserError for what `choose` refuses, and for ONNX tensors outside the file's folder.
    """
    choice = choose(path.name, wanted, options.precision)
    if path.suffix == ".onnx":
        external_files(path)
    log.info(
        "%s runs on %s (%s, %s): %s",
        path.name,
        choice.runtime,
        choice.device,
        options.precision,
        choice.reason,
    )
    return _open(choice, path, network, options)


def _open(choice: Choice, path: Path, network: Network, options: RuntimeOptions) -> Runtime:
    match choice.runtime:
        case "openvino":
            from lakesight.runtimes.openvino import OpenVino

            return OpenVino(path, network, options)
        case "torch":
            from lakesight.runtimes.torch import TorchModule

            return TorchModule.open(path, network, options)
        case _:
            from lakesight.runtimes.onnxruntime import OnnxCpu, OnnxGpu

            if choice.device == "cpu":
                return OnnxCpu(path, network, options)
            return OnnxGpu(path, network, options, choice.runtime)
