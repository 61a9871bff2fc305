"""Does a runtime really work here? Run a network of one layer through it and look."""

import importlib
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import ENGINES, Engine
from lakesight.runtimes.one_by_one import hushed
from lakesight.runtimes.tiny_files import SIDE, WRITERS

COMPILED: dict[RuntimeName, str] = {
    "executorch": "executorch.runtime",
    "aotinductor": "torch._inductor",
}
"""Runtimes whose files only a compiler writes, and what loads them: it is imported, no more."""
HALF = 0.5
"""The right answer."""


@dataclass(frozen=True)
class Probe:
    """What became of one runtime."""

    runtime: RuntimeName
    version: str | None
    """None where it is not installed."""
    works: bool
    detail: str
    """Where it ran, or that it was imported only; else what is missing."""


def probe(runtime: RuntimeName) -> Probe:
    """Run a picture through the runtime; the answer is known. Takes its import, and a moment."""
    found = _version(runtime)
    if found is None:
        return Probe(runtime, None, works=False, detail=_engines(runtime)[0].install)
    try:
        where, mean = _mean(runtime)
    except Exception as error:  # whatever a broken installation raises is the answer
        return Probe(runtime, found, works=False, detail=str(error).partition("\n")[0])
    works = bool(np.isclose(mean, HALF, atol=1e-6))
    return Probe(runtime, found, works=works, detail=where if works else f"{mean} for {HALF}")


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
    """Return where it ran, and the mean of a grey picture divided by twice its grey."""
    engines = _engines(runtime)
    endings = [ending for engine in engines for ending in engine.reads if ending in WRITERS]
    if runtime in COMPILED:
        return _imported(COMPILED[runtime])
    if endings:
        return _of_file(runtime, endings[0])
    return _of_module(next((one for one in engines if one.here()), engines[-1]))


def _picture() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 51, np.uint8)


def _network(ending: str) -> Network:
    layout: Literal["NHWC", "NCHW"] = "NHWC" if ending == ".tflite" else "NCHW"
    return Network(width=SIDE, height=SIDE, layout=layout, scale=(102.0,) * 3)


def _of_file(runtime: RuntimeName, ending: str) -> tuple[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mean{ending}"
        WRITERS[ending](path)
        opened = open_network(path, _network(ending), RuntimeOptions(num_threads=1), runtime)
        (mean,) = opened.infer([_picture()]).values()
        return f"on {opened.device}", float(mean.ravel()[0])


def _of_module(engine: Engine) -> tuple[str, float]:
    from torch import nn

    from lakesight.runtimes.torch import TorchModule

    module = nn.Sequential(nn.Flatten(), nn.AvgPool1d(3 * SIDE * SIDE))
    opened = TorchModule(module.eval(), _network(".pt2"), RuntimeOptions(), engine.device)
    return f"on {opened.device}", float(opened.infer([_picture()])["output_0"].ravel()[0])


def _imported(module: str) -> tuple[str, float]:
    with hushed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(module)
    return "imported, not run: that takes a compiler's ten seconds", HALF
