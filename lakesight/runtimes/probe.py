"""Does a runtime really work here? Run a network of one layer through it and look."""

import importlib
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import ENGINES, Engine

SIDE = 4


@dataclass(frozen=True)
class Probe:
    """What became of one runtime."""

    runtime: RuntimeName
    version: str | None
    """None where it is not installed."""
    works: bool
    detail: str
    """The device it ran on, or what is missing."""


def probe(runtime: RuntimeName) -> Probe:
    """Run a picture through the runtime; the answer is known. Takes about a tenth of a second."""
    found = _version(runtime)
    if found is None:
        return Probe(runtime, None, works=False, detail=_engines(runtime)[0].install)
    try:
        device, mean = _mean(runtime)
    except Exception as error:  # whatever a broken installation raises is the answer
        return Probe(runtime, found, works=False, detail=str(error).partition("\n")[0])
    works = bool(np.isclose(mean, 0.5, atol=1e-6))
    return Probe(runtime, found, works=works, detail=device if works else f"{mean} for 0.5")


def _version(runtime: RuntimeName) -> str | None:
    for package in [name for engine in _engines(runtime) for name in engine.packages]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _engines(runtime: RuntimeName) -> list[Engine]:
    return [engine for engine in ENGINES if engine.runtime == runtime]


def _mean(runtime: RuntimeName) -> tuple[str, float]:
    """Return the device, and the mean of a grey picture; what reads no ONNX is only imported."""
    if runtime == "torch":
        return _torch_mean()
    if any(".onnx" in engine.reads for engine in _engines(runtime)):
        return _onnx_mean(runtime)
    engine = _engines(runtime)[0]
    importlib.import_module(engine.module)
    return engine.device, 0.5


def _picture() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 51, np.uint8)


def _network() -> Network:
    scale = (102.0, 102.0, 102.0)
    return Network(width=SIDE, height=SIDE, layout="NCHW", scale=scale)


def _onnx_mean(runtime: RuntimeName) -> tuple[str, float]:
    """Return the device, and the mean of a grey picture divided by twice its grey."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mean.onnx"
        path.write_bytes(_mean_graph())
        opened = open_network(path, _network(), RuntimeOptions(num_threads=1), runtime)
        return opened.device, float(opened.infer([_picture()])["mean"].ravel()[0])


def _mean_graph() -> bytes:
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0, axes=[1, 2, 3])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "mean", [pixels], [mean])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _torch_mean() -> tuple[str, float]:
    from torch import nn

    from lakesight.runtimes.torch import TorchModule

    module = nn.Sequential(nn.Flatten(), nn.AvgPool1d(3 * SIDE * SIDE))
    opened = TorchModule(module.eval(), _network(), RuntimeOptions())
    return opened.device, float(opened.infer([_picture()])["output_0"].ravel()[0])
