"""TorchScript, torch.export, ONNX and OpenVINO: converted, run, and held against torch."""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lakesight.errors import UserError
from lakesight.exporting import onnx as onnx_format
from lakesight.exporting import parity
from lakesight.exporting.base import Source
from lakesight.exporting.formats import FORMATS, Wanted, parse
from lakesight.models.base import Image
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.model import in_order
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.engines import num_nvidia_gpus, readers
from lakesight.runtimes.openvino import core
from lakesight.scenes import generate
from tests.yolo_folders import by_torch

Sources = Callable[[Task], Source]


def views(source: Source, count: int = 3) -> list[Image]:
    return [generate(5, index, source.view.width).pixels for index in range(count)]


def network(source: Source) -> Network:
    side = source.view.width
    return Network(width=side, height=side, layout="NCHW", scale=(255.0,) * 3)


def check_engines(source: Source, path: Path, runtimes: set[str]) -> None:
    images = views(source)
    engines = [engine for engine in readers(path.name) if engine.here()]
    assert runtimes <= {engine.runtime for engine in engines}
    for engine in engines:
        found = in_order(engine.open(path, network(source), RuntimeOptions()).infer(images))
        wanted = by_torch(source, images)
        parity.check(wanted, found)
        assert parity.of_tensors(source.contract, wanted, found).beyond() is None


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
def test_every_task_goes_through_onnx(task: Task, tiny_source: Sources) -> None:
    source = tiny_source(task)
    check_engines(source, onnx_format.static(source), {"openvino", "onnxruntime"})
    model = onnx.load(onnx_format.static(source))
    assert [one.name for one in model.graph.input] == ["images"]
    assert [one.name for one in model.graph.output] == list(source.outputs)


@pytest.mark.parametrize(
    ("name", "task", "runtime"),
    [
        ("torchscript", "segment", "torch"),
        ("torch-export", "classify", "torch"),
        ("openvino", "segment", "openvino"),
    ],
)
def test_a_format_gives_what_the_weights_give(
    name: str, task: Task, runtime: str, tiny_source: Sources, tmp_path: Path
) -> None:
    source = tiny_source(task)
    written = FORMATS[name].load()(source, tmp_path)
    check_engines(source, tmp_path / written.main, {runtime})


def test_any_batch_and_size(tiny_source: Sources, tmp_path: Path) -> None:
    source = tiny_source("detect")
    written = onnx_format.convert_dynamic(source, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / written.main)
    for shape in ((3, 3, 64, 128), (1, 3, 96, 32)):
        pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        (found,) = session.run(None, {"images": pixels.numpy()})
        with torch.inference_mode():
            (wanted,) = source.module(pixels)
        np.testing.assert_allclose(found, wanted.numpy(), atol=0.05)


def test_bf16_rounds_the_weights_and_nothing_else(tiny_source: Sources, tmp_path: Path) -> None:
    """Against the network whose weights torch rounded, both computed in f32."""
    source = tiny_source("obb")
    written = FORMATS["openvino"].load()(replace(source, precision="bf16"), tmp_path)
    kinds = Counter(
        one.get_element_type().get_type_name()
        for one in core().read_model(tmp_path / written.main).get_ops()
        if one.get_type_name() == "Constant" and one.data.ndim == 4
    )
    assert kinds["bf16"] > 50
    (engine,) = readers(written.main)
    images = views(source)
    opened = engine.open(tmp_path / written.main, network(source), RuntimeOptions())
    found = in_order(opened.infer(images))
    rounded = replace(source, module=copy.deepcopy(source.module))
    for module in rounded.module.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.weight.data = module.weight.data.bfloat16().float()
    wanted = by_torch(rounded, images)
    assert parity.of_tensors(source.contract, wanted, found).beyond() is None
    assert parity.of_tensors(source.contract, by_torch(source, images), found).beyond() is not None


def test_f16_stores_the_weights_in_half_the_size(tiny_source: Sources, tmp_path: Path) -> None:
    """And gives what the network does whose weights and biases torch rounded."""
    source = tiny_source("detect")
    sizes = {}
    for precision in ("f32", "f16"):
        folder = tmp_path / precision
        folder.mkdir()
        FORMATS["openvino"].load()(replace(source, precision=precision), folder)
        sizes[precision] = (folder / "model.bin").stat().st_size
    assert sizes["f16"] < 0.55 * sizes["f32"]
    kinds = Counter(
        one.get_element_type().get_type_name()
        for one in core().read_model(tmp_path / "f16" / "model.xml").get_ops()
        if one.get_type_name() == "Constant" and one.data.ndim == 4
    )
    assert kinds["f16"] > 50
    (engine,) = readers("model.xml")
    images = views(source)
    path = tmp_path / "f16" / "model.xml"
    found = in_order(engine.open(path, network(source), RuntimeOptions()).infer(images))
    rounded = replace(source, module=copy.deepcopy(source.module))
    for module in rounded.module.modules():
        for values in module.parameters(recurse=False):
            values.data = values.data.half().float()
    assert parity.of_tensors(source.contract, by_torch(rounded, images), found).beyond() is None


def test_int8_onnx_leaves_the_last_convolutions(tiny_source: Sources, tmp_path: Path) -> None:
    source = tiny_source("detect")
    images = tuple(views(source, 4))
    onnx_format.convert(replace(source, precision="int8", calibration=images), tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    plain = [one.name for one in convolutions if makers.get(one.input[1]) != "DequantizeLinear"]
    last = onnx_format.last_convolutions(onnx_format.static(source))
    assert sorted(plain) == sorted(last)
    assert len(last) == 6, "boxes and classes on three levels"
    assert len(convolutions) > 50
    check_runs(tmp_path / "model.onnx", source, list(images))


def test_int8_openvino_leaves_the_decoding(tiny_source: Sources, tmp_path: Path) -> None:
    source = tiny_source("detect")
    images = tuple(views(source, 4))
    int8 = replace(source, precision="int8", calibration=images)
    FORMATS["openvino"].load()(int8, tmp_path)
    model = core().read_model(tmp_path / "model.xml")
    ops = {op.get_friendly_name(): op for op in model.get_ops()}
    assert sum(op.get_type_name() == "FakeQuantize" for op in ops.values()) > 50
    waiting = [output.node.input_value(0).node for output in model.outputs]
    kinds: Counter[str] = Counter()
    while waiting:
        node = waiting.pop()
        if node.get_type_name() != "Convolution":
            kinds[node.get_type_name()] += 1
            waiting += [value.node for value in node.input_values()]
    assert kinds["Softmax"] > 0
    assert kinds["FakeQuantize"] == 0
    check_runs(tmp_path / "model.xml", source, list(images))


def check_runs(path: Path, source: Source, images: list[Image]) -> None:
    """Random weights do not survive int8 well: that it runs, and is not the network in f32."""
    for engine in [one for one in readers(path.name) if one.here()]:
        options = RuntimeOptions(precision="int8")
        found = in_order(engine.open(path, network(source), options).infer(images))
        wanted = by_torch(source, images)
        parity.check(wanted, found)
        assert np.isfinite(found["output_0"]).all()
        assert parity.of_tensors(source.contract, wanted, found).beyond() is not None


def test_int8_wants_pictures(tiny_source: Sources, tmp_path: Path) -> None:
    source = replace(tiny_source("detect"), precision="int8")
    for name in ("onnx", "openvino"):
        with pytest.raises(UserError, match="name some with --calibration"):
            FORMATS[name].load()(source, tmp_path)


@pytest.mark.parametrize(
    ("name", "precision", "wanted"),
    [
        ("onnx", None, ("onnx", "f32")),
        ("openvino-int8", None, ("openvino", "int8")),
        ("openvino-int8", "bf16", ("openvino", "int8")),
        ("openvino", "bf16", ("openvino", "bf16")),
        ("onnx-nms", None, ("onnx-nms", "f32")),
        ("tensorrt", None, ("tensorrt", "f32")),
        ("coreml-f32", None, ("coreml", "f32")),
        ("tensorrt-f16", "int8", ("tensorrt", "f16")),
    ],
)
def test_names_of_formats(name: str, precision: Any, wanted: tuple[str, str]) -> None:
    found = parse(name, precision)
    assert (found.format.name, found.precision) == wanted


def test_a_name_or_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"no format is called 'onix'; expected one of .*onnx"):
        parse("onix")
    with pytest.raises(UserError, match="torchscript is not written in int8, only in f32"):
        parse("torchscript", "int8")


def test_the_name_is_that_of_the_artefact() -> None:
    assert Wanted(FORMATS["openvino"], "int8").name == "openvino-int8"
    for one in FORMATS.values():
        for precision in one.precisions:
            wanted = Wanted(one, precision)
            assert parse(wanted.name) == wanted


@pytest.mark.skipif(num_nvidia_gpus() > 0, reason="this machine has a GPU")
def test_tensorrt_says_what_it_needs(tiny_source: Sources, tmp_path: Path) -> None:
    from lakesight.exporting.tensorrt import convert

    with pytest.raises(UserError, match="this machine shows none: export to onnx here"):
        convert(tiny_source("detect"), tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not num_nvidia_gpus(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["f32", "f16", "int8"])
def test_tensorrt_compiles_and_runs(precision: Any, tiny_source: Sources, tmp_path: Path) -> None:
    source, images = tiny_source("segment"), views(tiny_source("segment"), 20)
    prepared = replace(source, precision=precision, calibration=tuple(images))
    written = FORMATS["tensorrt"].load()(prepared, tmp_path)
    (engine,) = readers(written.main)
    options = RuntimeOptions(precision=precision)
    runtime = engine.open(tmp_path / written.main, network(source), options)
    found = in_order(runtime.infer(images))
    wanted = by_torch(source, images)
    parity.check(wanted, found)
    beyond = parity.of_tensors(source.contract, wanted, found).beyond()
    assert (beyond is None) == (precision == "f32")
    alone = in_order(runtime.infer(images[3:4]))
    assert np.array_equal(alone["output_0"][0], found["output_0"][3])


def test_the_documented_counts_are_those_of_the_formats() -> None:
    """Of formats and precisions: all, what `[export]` brings, and what of it runs on a CPU."""
    elsewhere = {"litert", "tf-savedmodel", "tensorrt"}
    assert {one.name for one in FORMATS.values() if one.missing()} <= elsewhere
    brought = [one for one in FORMATS.values() if one.name not in elsewhere]
    counts = [
        (len(some), sum(len(one.precisions) for one in some))
        for some in (FORMATS.values(), brought)
    ]
    run = [one.name for one in brought if one.runs and one.name != "onnx-nms"]
    page = (Path(__file__).parents[3] / "docs" / "export.md").read_text()
    (all_formats, all_names), (formats, names) = counts
    said = f"There are {all_formats} formats, {all_names} with their precisions."
    assert said in page
    assert f"converts to {formats} of them ({names}), each" in page
    assert f"to; {len(run)} of these run on a CPU" in page
