"""Engines that take one picture a call and spread it over threads of their own."""

import ctypes
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.models.base import Image, RuntimeName
from lakesight.runtimes.base import (
    Network,
    RuntimeOptions,
    Tensors,
    as_input,
    check_images,
    check_outputs,
    usable_cpus,
)

Floats = npt.NDArray[np.float32]
_HUSHED = threading.RLock()
"""Held while the terminal is away: it is the process's, and two threads would not give it back."""


class OneByOne(ABC):
    """A network on such an engine; a subclass loads it, and runs one input."""

    name: RuntimeName
    device = "cpu"

    def __init__(self, network: Network, options: RuntimeOptions) -> None:
        if network.features is not None:
            raise UserError(
                f"{self.name} gives a network's outputs only, not the features inside: choose "
                "another runtime, or leave it to auto"
            )
        self.precision = options.precision
        self._network = network
        self._num_threads = options.num_threads or usable_cpus()
        self._names: list[str] = []
        """Of the outputs, where the file tells them; else they are `output_0`, …."""
        self._lock = threading.Lock()

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        check_images(images, self._network)
        with self._lock:
            found = [self._run(as_input(image, self._network)) for image in images]
        stacked = [np.concatenate(each) for each in zip(*found, strict=True)]
        known = self._names or [f"output_{slot}" for slot in range(len(stacked))]
        tensors = dict(zip(known, stacked, strict=True))
        names = self._network.outputs or tuple(tensors)
        check_outputs(names, list(tensors), f"the {self.name} file")
        return {name: tensors[name] for name in names}

    @abstractmethod
    def _run(self, values: Floats) -> list[Floats]:
        """Return the outputs, `(1, …)` each and free of the engine's memory, of one input."""


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what a library in C++ tells of itself on being loaded away from the terminal.

    Threads take turns; what others print meanwhile is lost too.
    """
    with _HUSHED:
        yield from _away()


def _away() -> Iterator[None]:
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in kept:
            os.dup2(nowhere, stream)
        yield
    finally:
        flush(None)  # C keeps lines back, too
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
