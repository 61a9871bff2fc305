"""ncnn, by way of TorchScript and pnnx: for phones and small boards."""

import warnings
from pathlib import Path
from typing import Any

import torch

from lakesight.exporting.base import Source, Written, run_tool

MAIN = "model.param"


def convert(source: Source, folder: Path) -> Written:
    """Write `model.param` and `model.bin`, weights in `source.precision`; for the view's size."""
    import pnnx

    traced = source.scratch / "pnnx.pt"
    jit: Any = torch.jit
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is not developed further
        jit.save(jit.trace(source.module, source.example(), check_trace=False), traced)
    wanted = {"ncnnparam": folder / MAIN, "ncnnbin": folder / "model.bin"}
    spare = {name: source.scratch / name for name in ("pnnxparam", "pnnxbin", "pnnxonnx")}
    scripts = {name: source.scratch / f"{name}.py" for name in ("pnnxpy", "ncnnpy")}
    settings = {
        "inputshape": f"[{','.join(map(str, source.shape))}]",
        "fp16": int(source.precision == "f16"),
        **wanted,
        **spare,
        **scripts,
    }
    words = [f"{name}={value}" for name, value in settings.items()]
    run_tool("pnnx", [pnnx.EXEC_PATH, traced, *words], folder / MAIN)
    return Written(MAIN)
