"""LiteRT, once TensorFlow Lite, on a CPU: .tflite files."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.one_by_one import Floats, OneByOne, hushed

PIXELS = (np.uint8, np.float32)
"""Inputs that take pixels of 0..255 as they are."""


class LiteRt(OneByOne):
    """A network in LiteRT, with XNNPACK below it."""

    name: RuntimeName = "litert"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        super().__init__(network, options)
        with hushed():
            from ai_edge_litert.interpreter import Interpreter

            try:
                self._net = Interpreter(str(path), num_threads=self._num_threads)
                self._net.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise UserError(f"LiteRT cannot read {path.name}: {error}") from error
        self._input = self._net.get_input_details()[0]
        self._raw = network.mean is None and network.scale is None
        if self._raw and self._input["dtype"] not in PIXELS:
            raise UserError(
                f"{path.name} takes {self._input['dtype'].__name__}, which pixels of 0..255 do not "
                "fit: say in the card's `contract` how they are normalised"
            )
        self._outputs = self._net.get_output_details()
        self._names = [each["name"] for each in self._outputs]

    def _run(self, values: Floats) -> list[Floats]:
        self._net.set_tensor(self._input["index"], self._entering(values))
        self._net.invoke()
        return [_real(self._net.get_tensor(each["index"]), each) for each in self._outputs]

    def _entering(self, values: Floats) -> npt.NDArray[Any]:
        """Return values as the file stores them; pixels that are not normalised enter as they are.

        A quantised input stands for `scale * (stored - zero point)`.
        """
        kind = self._input["dtype"]
        if not np.issubdtype(kind, np.integer):
            return values.astype(kind)
        scale, zero = self._input["quantization"]
        stored = values if self._raw or not scale else values / np.float32(scale) + zero
        limits = np.iinfo(kind)
        return np.rint(stored).clip(limits.min, limits.max).astype(kind)


def _real(stored: npt.NDArray[Any], details: dict[str, Any]) -> Floats:
    """Return an output in the numbers that it stands for, free of the engine's memory."""
    scale, zero = details["quantization"]
    values = np.array(stored, np.float32)
    if scale and np.issubdtype(stored.dtype, np.integer):
        values = (values - np.float32(zero)) * np.float32(scale)
    return values
