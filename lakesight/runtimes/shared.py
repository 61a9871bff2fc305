"""One network behind several models of one process: the second finds the first one's answer."""

import threading
from collections.abc import Sequence

from lakesight.models.base import Image, Precision, RuntimeName
from lakesight.runtimes.base import Runtime, Tensors


class Shared:
    """A runtime that keeps its last answer, for the next model that looks at the same pictures.

    The same pictures are the same array objects, in the same order. Each thread has its own last
    answer, which holds on to its pictures.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.name: RuntimeName = runtime.name
        self.device: str = runtime.device
        self.precision: Precision = runtime.precision
        self.num_runs = 0
        """How often the network really ran."""
        self._runtime = runtime
        self._last = threading.local()

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        known: Sequence[Image] = getattr(self._last, "images", ())
        same = len(known) == len(images) and all(a is b for a, b in zip(known, images, strict=True))
        if not same:
            self.num_runs += 1
            self._last.tensors = self._runtime.infer(images)
            self._last.images = list(images)
        tensors: Tensors = self._last.tensors
        return tensors
