"""LiteRT, once TensorFlow Lite, on a CPU: .tflite files."""

from pathlib import Path

import numpy as np

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.one_by_one import Floats, OneByOne, hushed


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
        outputs = self._net.get_output_details()
        self._outputs = [each["index"] for each in outputs]
        self._names = [each["name"] for each in outputs]

    def _run(self, values: Floats) -> list[Floats]:
        self._net.set_tensor(self._input["index"], values.astype(self._input["dtype"]))
        self._net.invoke()
        return [np.array(self._net.get_tensor(index), np.float32) for index in self._outputs]
