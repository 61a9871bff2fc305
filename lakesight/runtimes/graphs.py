"""One graph of several that make a model: any inputs, of any batch, from an ONNX file on a CPU.

A `Runtime` is for networks that take a picture and nothing else.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lakesight.runtimes.base import usable_cpus

Array = npt.NDArray[Any]


class Graph(Protocol):
    """A graph that is ready to run, by one thread at a time."""

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return every output, in the file's order, for its inputs by name."""
        ...


class OnnxGraph:
    """A graph on ONNX Runtime."""

    def __init__(self, path: Path, num_threads: int | None = None) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = num_threads or usable_cpus()
        settings.log_severity_level = 3
        # a model is several graphs with threads of their own, which would spin against each other
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return every output; see `Graph.run`."""
        found: list[Array] = self._session.run(None, dict(arrays))
        return found


class OpenVinoGraph:
    """A graph on OpenVINO."""

    def __init__(self, path: Path, num_threads: int | None = None) -> None:
        from lakesight.runtimes.openvino import core

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": num_threads or usable_cpus(),
            "ENABLE_CPU_PINNING": False,
            # what is multiplied with weights of 4 or 8 bits is rounded to 8, in blocks of as many
            # values: two to three times as fast, and what ONNX Runtime does with the same files
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32,
        }
        self._compiled = core().compile_model(str(path), "CPU", settings)
        self._request: Any = None

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return every output; see `Graph.run`."""
        from lakesight.runtimes.openvino import FIRST

        with nullcontext() if self._request else FIRST:
            self._request = self._request or self._compiled.create_infer_request()
            found = self._request.infer(dict(arrays), share_inputs=True)
        return [np.array(found[output]) for output in self._compiled.outputs]
