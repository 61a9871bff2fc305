"""What the engines that take one picture a call share; what they give: tests of exporting."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from skimage.data import chelsea

from lakesight.errors import UserError
from lakesight.models.artefact import stage
from lakesight.models.base import Image
from lakesight.models.packaged import EFFICIENTNET_LITE3, MOVENET_LIGHTNING
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import readers
from lakesight.runtimes.one_by_one import hushed
from lakesight.runtimes.tiny_files import SIDE, tflite

KEYPOINTS = "StatefulPartitionedCall:0"
ONE = RuntimeOptions(num_threads=1)
NETWORK = Network(width=192, height=192, outputs=(KEYPOINTS,))


@pytest.fixture(scope="module")
def movenet() -> Path:
    """Return a file that others made: uint8 in, N, H, W, C."""
    return stage(MOVENET_LIGHTNING) / "movenet_lightning.tflite"


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (192, 192, 3), dtype=np.uint8) for _ in range(3)]


def test_litert_gives_what_openvino_gives_of_the_same_file(
    movenet: Path, images: list[Image]
) -> None:
    options = RuntimeOptions(num_threads=1)
    litert, openvino = (
        open_network(movenet, NETWORK, options, name) for name in ("litert", "openvino")
    )
    found = litert.infer(images)[KEYPOINTS]
    np.testing.assert_allclose(found, openvino.infer(images)[KEYPOINTS], atol=2e-3)
    assert found.shape == (3, 1, 17, 3)


def test_threads_take_turns(movenet: Path, images: list[Image]) -> None:
    runtime = open_network(movenet, NETWORK, RuntimeOptions(num_threads=1), "litert")
    alone = [runtime.infer([image])[KEYPOINTS] for image in images]
    found: dict[int, list[np.ndarray]] = {}

    def ask(number: int) -> None:
        found[number] = [runtime.infer([images[number]])[KEYPOINTS] for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, each in found.items():
        for tensor in each:
            np.testing.assert_array_equal(tensor, alone[number])
    assert len(found) == 3


def test_the_names_of_a_card_are_checked(movenet: Path, images: list[Image]) -> None:
    network = NETWORK.model_copy(update={"outputs": ("heatmap",)})
    runtime = open_network(movenet, network, RuntimeOptions(), "litert")
    with pytest.raises(UserError, match="the litert file has no tensor 'heatmap'"):
        runtime.infer(images)


def test_inner_features_are_refused(movenet: Path) -> None:
    network = NETWORK.model_copy(update={"features": "penultimate"})
    with pytest.raises(UserError, match="litert gives a network's outputs only"):
        open_network(movenet, network, RuntimeOptions(), "litert")


def test_threads_that_load_at_once_get_the_terminal_back() -> None:
    """The second comes while the first is at it, and leaves after it."""
    before = [os.fstat(stream) for stream in (1, 2)]
    here, second_here = threading.Event(), threading.Event()

    def second() -> None:
        here.wait()
        with hushed():
            second_here.set()
            first.join()

    thread = threading.Thread(target=second)

    def load() -> None:
        with hushed(), hushed():
            here.set()
            second_here.wait(0.2)

    first = threading.Thread(target=load)
    for one in (thread, first):
        one.start()
    for one in (thread, first):
        one.join()
    assert [os.fstat(stream).st_ino for stream in (1, 2)] == [one.st_ino for one in before]


def test_a_quantised_file_gives_probabilities() -> None:
    """Of EfficientNet's uint8 file; OpenVINO, which reads it too, is the reference."""
    path = stage(EFFICIENTNET_LITE3) / "efficientnet_lite3.tflite"
    network = Network(width=280, height=280)
    image = chelsea()[10:290, 80:360]  # type: ignore[no-untyped-call]  # a cat
    (litert,) = open_network(path, network, ONE, "litert").infer([image]).values()
    inner = network.model_copy(update={"outputs": ("Softmax_int8",)})  # before it is quantised
    (openvino,) = open_network(path, inner, ONE, "openvino").infer([image]).values()
    assert 0.1 < litert.max() <= 1
    np.testing.assert_allclose(litert, openvino, atol=0.05)


@pytest.mark.parametrize("grey", [0, 51, 204, 255])
def test_an_int8_file_takes_and_gives_what_its_numbers_stand_for(grey: int, tmp_path: Path) -> None:
    path = write_int8(tmp_path / "mean.tflite")
    network = Network(width=SIDE, height=SIDE, scale=(255,) * 3)
    opened = open_network(path, network, ONE, "litert")
    found = opened.infer([np.full((SIDE, SIDE, 3), grey, np.uint8)])["out0"]
    np.testing.assert_allclose(found.ravel(), np.full(3, grey / 255), atol=1 / 255)


def test_pixels_that_an_int8_file_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = write_int8(tmp_path / "mean.tflite")
    with pytest.raises(UserError, match="takes int8, which pixels of 0"):
        open_network(path, Network(width=SIDE, height=SIDE), ONE, "litert")


def write_int8(path: Path) -> Path:
    """Write a mean in int8, where -128 stands for 0 and 127 for 1."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tflite(path)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [1 / 255]
        tensor.quantization.zeroPoint = [-128]
    model.operatorCodes[0].version = 2
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_layer_that_fails_is_an_error(tmp_path: Path) -> None:
    """Three channels cannot be shuffled into squares of seven: ncnn says so by a number only."""
    path = tmp_path / "m.param"
    layers = ["Input in0 0 1 in0", "PixelShuffle out0 1 1 in0 out0 0=7"]
    path.write_text("\n".join(["7767517", "2 2", *layers, ""]))
    path.with_suffix(".bin").write_bytes(b"")
    opened = open_network(path, Network(width=SIDE, height=SIDE, layout="NCHW"), ONE, "ncnn")
    with pytest.raises(RuntimeError, match=r"ncnn could not compute out0 \(code -100\)"):
        opened.infer([np.zeros((SIDE, SIDE, 3), np.uint8)])


@pytest.mark.parametrize("name", ["m.param", "m.mnn", "m.pte", "m.tflite", "m.aoti"])
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"these are not the weights of any network" * 30)
    path.with_suffix(".bin").write_bytes(b"")
    engine = readers(name)[-1]
    network = Network(width=96, height=96, layout="NCHW")
    with pytest.raises(UserError, match=f"{name}.*(export it again|cannot)|cannot read {name}"):
        engine.open(path, network, RuntimeOptions(num_threads=1))
