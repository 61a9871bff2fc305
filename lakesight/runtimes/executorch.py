"""ExecuTorch on a CPU: .pte programs, their convolutions in XNNPACK."""

import threading
import warnings
from pathlib import Path

import torch

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.one_by_one import Floats, OneByOne, hushed

POOL = threading.Lock()
"""Held while a program runs, and while the threads that all programs of a process share are
replaced by as many as the last one opened asked for."""


class ExecuTorch(OneByOne):
    """A program in ExecuTorch; all of a process take turns on the same threads."""

    name: RuntimeName = "executorch"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        super().__init__(network, options)
        self._lock = POOL
        with POOL, hushed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
            from executorch.runtime import Runtime

            _unsafe_reset_threadpool(self._num_threads)
            try:
                self._program = Runtime.get().load_program(path)
                self._method = self._program.load_method("forward")
            except RuntimeError as error:
                raise UserError(f"ExecuTorch cannot read {path.name}: export it again") from error

    def _run(self, values: Floats) -> list[Floats]:
        found = self._method.execute([torch.from_numpy(values)])
        return [tensor.float().numpy().copy() for tensor in found]
