"""MNN on a CPU: .mnn files."""

from pathlib import Path
from typing import Any

import numpy as np

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.one_by_one import Floats, OneByOne, hushed

WINOGRAD_MEMORY, SMALL_TILES = 3, 1
"""A hint and its value: large tiles are some faster, and cost two digits."""


class Mnn(OneByOne):
    """A network in MNN, computed in f32 whatever its weights are stored in."""

    name: RuntimeName = "mnn"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        super().__init__(network, options)
        with hushed():
            from MNN import expr

            self._expr = expr
            self._net = _loaded(path, self._num_threads)

    def _run(self, values: Floats) -> list[Floats]:
        expr = self._expr
        pixels = expr.placeholder(list(values.shape), expr.NCHW)
        pixels.write(values)
        outputs = self._net.forward([pixels])
        return [np.array(expr.convert(each, expr.NCHW).read(), np.float32) for each in outputs]


def _loaded(path: Path, num_threads: int) -> Any:
    """Return the file's module, its outputs in the order in which they are stored."""
    from MNN import nn

    settings = {"backend": "CPU", "numThread": num_threads, "precision": "high"}
    manager = nn.create_runtime_manager((settings,))
    manager.set_hint(WINOGRAD_MEMORY, SMALL_TILES)
    try:
        names = nn.load_module_from_file(str(path), [], []).get_info()
        return nn.load_module_from_file(
            str(path), names["inputNames"], names["outputNames"], runtime_manager=manager
        )
    except SystemError as error:
        raise UserError(f"MNN cannot read {path.name}: export it again") from error
