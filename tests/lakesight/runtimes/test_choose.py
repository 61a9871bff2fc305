"""Which runtime runs what, and what is said where none can."""

from pathlib import Path

import pytest

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.choose import Choice, check_reads, choose, engines, uses_gpu
from lakesight.runtimes.engines import num_nvidia_gpus

without_gpu = pytest.mark.skipif(num_nvidia_gpus() > 0, reason="this machine has a GPU")


@without_gpu
@pytest.mark.parametrize(
    ("file_name", "runtimes"),
    [
        ("model.onnx", ["openvino", "onnxruntime"]),
        ("graph.pb", ["openvino"]),
        ("model.tflite", ["openvino", "litert"]),
        ("model.xml", ["openvino"]),
        ("program.pt2", ["torch"]),
        ("model.param", ["ncnn"]),
        ("model.aoti", ["aotinductor"]),
        ("model.h5", []),
    ],
)
def test_what_can_run_a_file(file_name: str, runtimes: list[RuntimeName]) -> None:
    assert [engine.runtime for engine in engines(file_name)] == runtimes


@pytest.mark.parametrize(
    ("file_name", "runtime"),
    [("model.aoti", "aotinductor"), ("model.pt2", "torch"), ("model.torchscript", "torch")],
)
def test_auto_runs_no_code_that_is_in_a_file(file_name: str, runtime: RuntimeName) -> None:
    with pytest.raises(UserError, match=f"auto does not: .*ask for {runtime} by name"):
        choose(file_name)
    with pytest.raises(UserError, match="auto does not"):
        check_reads(file_name, "auto", "f32")
    assert not uses_gpu(file_name, here=False)
    assert choose(file_name, runtime).runtime == runtime


@without_gpu
def test_auto_takes_the_fastest_and_says_why() -> None:
    assert choose("m.onnx") == Choice("openvino", "cpu", "it keeps every core busy")
    assert choose("m.onnx", "onnxruntime") == Choice("onnxruntime", "cpu", "it was asked for")


@pytest.mark.parametrize(
    ("file_name", "wanted", "message"),
    [
        ("graph.pb", "onnxruntime", "onnxruntime does not read graph.pb; openvino can"),
        ("model.onnx", "torch", "torch does not read model.onnx"),
        ("model.h5", "auto", "nothing installed here runs model.h5 .*: convert it to ONNX"),
    ],
)
def test_a_runtime_that_does_not_fit_is_refused(
    file_name: str, wanted: RuntimeName, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        choose(file_name, wanted)


@without_gpu
def test_a_missing_runtime_comes_with_its_install_line() -> None:
    with pytest.raises(UserError, match=r"pip install 'lakesight\[gpu\]'"):
        choose("model.onnx", "tensorrt")


@without_gpu
def test_only_what_a_gpu_build_reads_would_use_a_gpu() -> None:
    assert not uses_gpu("model.tflite")
    assert not uses_gpu("model.onnx", "openvino")
    assert uses_gpu("program.pt2", "torch")
    assert not uses_gpu("model.onnx", "onnxruntime")
    assert uses_gpu("model.onnx", "onnxruntime", here=False)


@pytest.mark.gpu
@pytest.mark.skipif(not num_nvidia_gpus(), reason="needs an NVIDIA GPU")
def test_auto_takes_the_gpu(tmp_path: Path) -> None:
    assert choose("m.onnx").device == "cuda"
    assert uses_gpu("m.onnx")
