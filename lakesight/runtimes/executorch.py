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
"""Held while a program is loaded or runs: all of a process share their threads."""
_num_threads: int | None = None
"""How many threads there are, once the first program was opened."""


class ExecuTorch(OneByOne):
    """A program in ExecuTorch; all of a process take turns on the same threads.

    The first says how many: a program keeps a pointer to the threads that were there when it was
    loaded, and making others frees those under it.
    """

    name: RuntimeName = "executorch"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        super().__init__(network, options)
        self._lock = POOL
        with POOL, hushed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            from executorch.runtime import Runtime

            _make_threads(self._num_threads)
            try:
                self._program = Runtime.get().load_program(path)
                self._method = self._program.load_method("forward")
            except RuntimeError as error:
                raise UserError(f"ExecuTorch cannot read {path.name}: export it again") from error

    def _run(self, values: Floats) -> list[Floats]:
        found = self._method.execute([torch.from_numpy(values)])
        return [tensor.float().numpy().copy() for tensor in found]


def _make_threads(count: int) -> None:
    """Have so many threads, unless a program was opened before."""
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    global _num_threads  # noqa: PLW0603 - the threads are the process's
    if _num_threads is None:
        _unsafe_reset_threadpool(count)
        _num_threads = count
