"""ncnn on a CPU: a .param file, and its weights in the .bin file beside it."""

from pathlib import Path
from typing import Any

import numpy as np

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.one_by_one import Floats, OneByOne


class Ncnn(OneByOne):
    """A network in ncnn. Its tensors have no batch: inputs `in0`, …, outputs `out0`, …."""

    name: RuntimeName = "ncnn"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        import ncnn

        super().__init__(network, options)
        self._mat = ncnn.Mat
        self._net = ncnn.Net()
        self._net.opt.num_threads = self._num_threads
        self._net.opt.use_vulkan_compute = False
        for name in ("packed", "storage", "arithmetic"):
            setattr(self._net.opt, f"use_fp16_{name}", False)
        weights = path.with_suffix(".bin")
        if self._net.load_param(str(path)) != 0 or self._net.load_model(str(weights)) != 0:
            raise UserError(f"ncnn cannot read {path.name} with {weights.name}: export it again")

    def _run(self, values: Floats) -> list[Floats]:
        extractor = self._net.create_extractor()
        name = self._net.input_names()[0]
        # A Mat reads memory as it lies: `as_input` gives it contiguous.
        if extractor.input(name, self._mat(values[0])) != 0:
            raise RuntimeError(f"ncnn does not take the input {name}")
        return [_extracted(extractor, name) for name in sorted(self._net.output_names())]


def _extracted(extractor: Any, name: str) -> Floats:
    """Return one output; RuntimeError where a layer below it failed, mostly for memory."""
    code, found = extractor.extract(name)
    if code != 0:
        raise RuntimeError(f"ncnn could not compute {name} (code {code})")
    return np.array(found, np.float32)[None]
