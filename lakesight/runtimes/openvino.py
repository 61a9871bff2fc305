"""OpenVINO on a CPU: reads .pb, .savedmodel, .tflite, .onnx and its own .xml.

Pictures run one by one over as many streams as threads: a value never depends on its batch, and no
core waits for another.
"""

import contextlib
import functools
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lakesight.cache import cache_folder
from lakesight.files import whole
from lakesight.models.base import Image, RuntimeName
from lakesight.runtimes.base import (
    Network,
    RuntimeOptions,
    Tensors,
    check_images,
    check_outputs,
    usable_cpus,
)
from lakesight.runtimes.onnx_graph import external_files

FIRST = threading.Lock()
"""Held for the first picture of a network: OpenVINO's Python layer fills tables at its first use,
and two threads that fill them at once wait for each other for ever."""


class OpenVino:
    """A network compiled for this machine's CPU."""

    name: RuntimeName = "openvino"
    device = "cpu"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        self.precision = options.precision
        self._network = network
        self._num_threads = options.num_threads or usable_cpus()
        self._compiled = _compiled(core(), path, network, self._settings())
        self._names = _names(self._compiled.outputs, network)
        self._free: list[Any] = []
        with FIRST:
            self.infer([np.zeros((network.height, network.width, 3), np.uint8)])

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output, stacked; see `Runtime.infer`."""
        check_images(images, self._network)
        queue = self._queue()
        found: list[list[np.ndarray] | None] = [None] * len(images)
        for index, image in enumerate(images):
            queue.start_async({0: image[None]}, userdata=(found, index), share_inputs=True)
        queue.wait_all()
        self._free.append(queue)
        return {
            name: np.concatenate([tensors[slot] for tensors in found if tensors is not None])
            for slot, name in enumerate(self._names)
        }

    def _settings(self) -> dict[str, Any]:
        return {
            # What is stored in int8 computes the rest in f32.
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "NUM_STREAMS": self._num_threads,
            "INFERENCE_NUM_THREADS": self._num_threads,
            # Several actors share a machine: pinned, all of them would sit on the first cores.
            "ENABLE_CPU_PINNING": False,
        }

    def _queue(self) -> Any:
        """Take a free queue of requests, or make one: each caller's thread has its own."""
        import openvino

        try:
            return self._free.pop()
        except IndexError:
            queue = openvino.AsyncInferQueue(self._compiled, self._num_threads)
            queue.set_callback(_collect)
            return queue


def _collect(request: Any, userdata: tuple[list[Any], int]) -> None:
    found, index = userdata
    # The request's memory is used again by the next picture.
    found[index] = [tensor.data.copy() for tensor in request.output_tensors]


def _compiled(core: Any, path: Path, network: Network, settings: dict[str, Any]) -> Any:
    """Return the compiled network, kept in the cache from the first time on.

    A TensorFlow graph takes seconds to read, and any other network a good part of one to compile.
    """
    kept = _cache_name(core, path, network, settings["INFERENCE_PRECISION_HINT"])
    with contextlib.suppress(OSError, RuntimeError):  # not there yet, or damaged
        return core.import_model(kept.read_bytes(), "CPU", settings)
    model = _prepared(core.read_model(path), path.name, network)
    compiled = core.compile_model(model, "CPU", settings)
    _keep(compiled.export_model().getbuffer(), kept)
    return compiled


@functools.cache
def core() -> Any:
    """Return OpenVINO's core, one for the process, which lives as long.

    A core gives its thread a signal stack (for AMX), and takes it away in the end. Of two that
    overlap, the second puts back the freed one of the first: the next signal with a handler, such
    as the end of a reader of pictures, is a segmentation fault.
    """
    import openvino

    return openvino.Core()


def _cache_name(core: Any, path: Path, network: Network, precision: str) -> Path:
    """Return the cache's file for these weights, used in this way, by this OpenVINO on this CPU."""
    import openvino

    key = hashlib.sha256()
    for part in _parts(path):
        with part.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
    key.update(f"{openvino.__version__} {cpu} {precision} {network.model_dump_json()}".encode())
    return cache_folder("openvino") / f"{key.hexdigest()[:32]}.blob"


def _parts(path: Path) -> list[Path]:
    """Return the file and those beside it that hold its weights."""
    match path.suffix:
        case ".onnx":
            return [path, *(path.parent / name for name in external_files(path))]
        case ".xml":
            return [path, path.with_suffix(".bin")]
        case ".savedmodel":
            return sorted(part for part in path.rglob("*") if part.is_file())
        case _:
            return [path]


def _keep(blob: memoryview, path: Path) -> None:
    """Write a file under a name that no reader sees before it is whole."""
    with contextlib.suppress(OSError), whole(path) as part:  # a full disk costs time, not the job
        part.write_bytes(blob)


def _prepared(model: Any, file_name: str, network: Network) -> Any:
    """Return the model with uint8 HWC input, the wanted outputs only, and a static shape."""
    cut = _with_outputs(model, file_name, network)
    size = {"H": network.height, "W": network.width, "N": 1, "C": 3}
    cut.reshape([size[axis] for axis in network.layout])
    if network.layout == "NHWC" and network.mean is None and network.scale is None:
        return cut
    return _with_pixels(cut, network)


def _with_outputs(model: Any, file_name: str, network: Network) -> Any:
    import openvino

    tensors = {name: out for op in model.get_ops() for out in op.outputs() for name in out.names}
    check_outputs(network.outputs, list(tensors), file_name)
    wanted = [tensors[name] for name in network.outputs] or [
        output.node.input_value(0) for output in model.outputs
    ]
    for name, output in zip(network.outputs, wanted, strict=False):
        output.set_names({name})
    if network.features is not None:
        wanted.append(_features(tensors, wanted[0], network.features, file_name))
    return openvino.Model(wanted, model.get_parameters())


def _features(tensors: dict[str, Any], output: Any, name: str, file_name: str) -> Any:
    """Return the tensor to hand out as `features`."""
    if name != "penultimate":
        check_outputs([name], list(tensors), file_name)
        found = tensors[name]
    else:
        node = output.node
        while node.get_type_name() != "MatMul":
            node = node.input_value(0).node
        found = node.input_value(0)
    found.set_names({"features"})
    return found


def _with_pixels(model: Any, network: Network) -> Any:
    """Put uint8 HWC RGB in front of the model: layout, channel order and normalisation."""
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor

    editor = PrePostProcessor(model)
    tensor = editor.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    tensor.set_color_format(ColorFormat.RGB)
    editor.input().model().set_layout(Layout(network.layout))
    steps = editor.input().preprocess().convert_element_type(Type.f32)
    if network.channels == "bgr":
        steps.convert_color(ColorFormat.BGR)
    if network.mean is not None:
        steps.mean(list(network.mean))
    if network.scale is not None:
        steps.scale(list(network.scale))
    steps.convert_element_type(model.input().get_element_type())
    return editor.build()


def _names(outputs: Sequence[Any], network: Network) -> list[str]:
    """Return the outputs' names: those that were asked for, or one of their own."""
    if not network.outputs:
        return [str(min(output.names)) for output in outputs]
    # a tensor may have several names, and compiling may bring back some
    return [*network.outputs, "features"][: len(outputs)]
