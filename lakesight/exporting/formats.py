"""Every format that a model can be exported to: one line each, its converter imported when used."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import cast

from lakesight.errors import UserError
from lakesight.exporting.base import Converter
from lakesight.models.base import Precision, export_name
from lakesight.models.yolo.architecture import Task


@dataclass(frozen=True)
class Format:
    """A format by name: what converts to it, and how precisely."""

    name: str
    converter: str
    """`module:function`, an `exporting.base.Converter`, of a YOLO."""
    about: str
    """One clause for the help and the table."""
    precisions: tuple[Precision, ...] = ("f32",)
    """Those it can be written in; the name alone means f32."""
    language_precisions: tuple[Precision, ...] = ()
    """Those that a BLIP-2 can be written in; none where it cannot."""
    needs: tuple[str, ...] = ()
    """Modules that the converter imports and a plain installation lacks."""
    install: str = "pip install 'lakesight[export]'"
    """What brings them."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions the report names."""
    tasks: tuple[Task, ...] = ("detect", "segment", "pose", "obb", "classify")
    """The tasks that it can hold."""
    runs: bool = True
    """Whether some engine of `lakesight.runtimes` reads it, on this system or another."""

    @property
    def every_precision(self) -> tuple[Precision, ...]:
        """Return what it can be written in of whatever model."""
        return tuple(dict.fromkeys((*self.precisions, *self.language_precisions)))

    def missing(self) -> str | None:
        """Return the first module that is not installed; None where all are."""
        return next((name for name in self.needs if importlib.util.find_spec(name) is None), None)

    def check_here(self) -> None:
        """Raise UserError, with what to install, where something is missing."""
        if missing := self.missing():
            raise UserError(f"{self.name} needs {missing}, which is not installed: {self.install}")

    def load(self) -> Converter:
        """Return a YOLO's converter; raise UserError where `check_here` does."""
        self.check_here()
        module, _, name = self.converter.partition(":")
        return cast("Converter", getattr(importlib.import_module(module), name))


_ALL = (
    Format(
        "torchscript",
        "lakesight.exporting.torchscript:convert",
        "TorchScript, for C++ programs on libtorch",
    ),
    Format(
        "torch-export",
        "lakesight.exporting.torch_export:convert",
        "a program of torch.export (.pt2), any batch",
    ),
    Format(
        "onnx",
        "lakesight.exporting.onnx:convert",
        "ONNX, one picture; BLIP-2 as several graphs of any batch",
        ("f32", "int8"),
        language_precisions=("f32", "int8", "int4"),
        needs=("onnxscript",),
        packages=("onnx", "onnxscript"),
    ),
    Format(
        "onnx-dynamic",
        "lakesight.exporting.onnx:convert_dynamic",
        "ONNX, any batch, height and width",
        needs=("onnxscript",),
        packages=("onnx", "onnxscript"),
    ),
    Format(
        "onnx-nms",
        "lakesight.exporting.onnx_nms:convert",
        "ONNX with NMS inside",
        needs=("onnxscript",),
        packages=("onnx", "onnxscript"),
        tasks=("detect", "segment", "pose"),
    ),
    Format(
        "openvino",
        "lakesight.exporting.openvino:convert",
        "OpenVINO IR",
        ("f32", "f16", "bf16", "int8"),
        needs=("onnxscript", "nncf"),
        packages=("onnx", "onnxscript", "openvino", "nncf"),
    ),
    Format(
        "tensorrt",
        "lakesight.exporting.tensorrt:convert",
        "a TensorRT engine for this machine's GPU",
        ("f32", "f16", "int8"),
        needs=("onnxscript", "tensorrt"),
        install="pip install 'lakesight[export,gpu]' on a machine with an NVIDIA GPU",
        packages=("onnx", "onnxscript", "tensorrt"),
    ),
    Format(
        "ncnn",
        "lakesight.exporting.ncnn:convert",
        "ncnn, for phones and small boards",
        ("f32", "f16"),
        needs=("pnnx",),
        packages=("pnnx", "ncnn"),
    ),
    Format(
        "mnn",
        "lakesight.exporting.mnn:convert",
        "MNN, for phones",
        ("f32", "f16"),
        needs=("onnxscript", "MNN"),
        packages=("onnx", "onnxscript", "MNN"),
    ),
    Format(
        "litert",
        "lakesight.exporting.litert:convert",
        "LiteRT (.tflite), for Android, boards and browsers",
        needs=("litert_torch",),
        install="pip install 'lakesight[litert]' && pip install --no-deps "
        "litert-torch==0.10.0 litert-converter==0.5.0",
        packages=("litert-torch", "litert-converter", "ai-edge-litert"),
    ),
    Format(
        "tf-savedmodel",
        "lakesight.exporting.tensorflow:convert",
        "a TensorFlow SavedModel, which OpenVINO reads too",
        needs=("onnxscript", "tensorflow"),
        install="pip install 'lakesight[export,tensorflow]'",
        packages=("onnx", "onnxscript", "tensorflow"),
    ),
    Format(
        "executorch",
        "lakesight.exporting.executorch:convert",
        "a program of ExecuTorch on XNNPACK, for phones and small boards",
        needs=("executorch",),
        packages=("executorch",),
    ),
    Format(
        "coreml",
        "lakesight.exporting.coreml:convert",
        "a Core ML package, for Apple's systems; nothing here runs it",
        ("f32", "f16"),
        needs=("coremltools",),
        packages=("coremltools",),
        runs=False,
    ),
    Format(
        "aotinductor",
        "lakesight.exporting.aotinductor:convert",
        "machine code for this kind of CPU, run by libtorch; needs a C++ compiler",
    ),
)

FORMATS: dict[str, Format] = {one.name: one for one in _ALL}


@dataclass(frozen=True)
class Wanted:
    """A format and a precision."""

    format: Format
    precision: Precision

    @property
    def name(self) -> str:
        """Return what the export will be called, as `Artefact.name`."""
        return export_name(self.format.name, self.precision)


def parse(name: str, precision: Precision | None = None) -> Wanted:
    """Return what a name such as `onnx`, `onnx-f32` or `openvino-int8` asks for.

    `precision` is meant where the name says none, and f32 where it is None. Raises UserError for
    what there is not.
    """
    if name in FORMATS:
        kind, chosen = FORMATS[name], precision or "f32"
        if chosen not in kind.every_precision:
            raise UserError(
                f"{name} is not written in {chosen}, only in {', '.join(kind.every_precision)}"
            )
        return Wanted(kind, chosen)
    every = [Wanted(one, each) for one in FORMATS.values() for each in one.every_precision]
    for one in every:
        if name == f"{one.format.name}-{one.precision}":
            return one
    known = ", ".join(one.name for one in every)
    raise UserError(f"no format is called {name!r}; expected one of {known}")


def all_here(task: Task, precision: Precision | None = None) -> list[Wanted]:
    """Return the formats that hold a task and that what is installed here writes."""
    chosen = precision or "f32"
    return [
        Wanted(one, chosen)
        for one in FORMATS.values()
        if task in one.tasks and chosen in one.precisions and one.missing() is None
    ]


def all_in_parts(precision: Precision | None = None) -> list[Wanted]:
    """Return the formats that a BLIP-2 can be written in and that what is installed here writes."""
    chosen = precision or "f32"
    return [
        Wanted(one, chosen)
        for one in FORMATS.values()
        if chosen in one.language_precisions and one.missing() is None
    ]
