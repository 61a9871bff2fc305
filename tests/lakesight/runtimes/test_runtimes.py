"""Every runtime, on one convolution with torch as the outside reference."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lakesight.errors import UserError
from lakesight.models.base import Image, RuntimeName
from lakesight.runtimes import tiny_files
from lakesight.runtimes.base import Network, Runtime, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import num_nvidia_gpus
from lakesight.runtimes.shared import Shared
from tests.lakesight.models.onnx_files import Floats, write_classifier, write_convolution

SIDE = 24
MEAN, SCALE = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
WEIGHTS: Floats = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
BGR = Network(
    width=SIDE,
    height=SIDE,
    layout="NCHW",
    channels="bgr",
    mean=MEAN,
    scale=SCALE,
    outputs=("seen",),
)
CPU: tuple[RuntimeName, ...] = ("openvino", "onnxruntime")
TOLERANCE = 1e-4
"""On values up to about 20: what the order of float32 sums may change."""

Open = Callable[..., Runtime]


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(7)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_convolution(tmp_path_factory.mktemp("onnx") / "conv.onnx", WEIGHTS, SIDE)


def expected(images: list[Image]) -> npt.NDArray[np.float32]:
    """Return torch's own answer for pixels that are normalised by hand."""
    bgr = np.stack(images)[..., ::-1].astype(np.float64)
    pixels = torch.from_numpy((bgr - MEAN) / SCALE).permute(0, 3, 1, 2)
    return torch.relu(torch.conv2d(pixels, torch.from_numpy(WEIGHTS).double())).float().numpy()


@pytest.mark.parametrize("runtime", CPU)
def test_a_runtime_gives_what_torch_gives(
    runtime: RuntimeName, path: Path, images: list[Image]
) -> None:
    opened = open_network(path, BGR, RuntimeOptions(num_threads=2), runtime)
    seen = opened.infer(images)["seen"]
    np.testing.assert_allclose(seen, expected(images), atol=TOLERANCE)
    assert (opened.name, opened.device, opened.precision) == (runtime, "cpu", "f32")


@pytest.mark.parametrize("runtime", CPU)
def test_a_value_does_not_depend_on_its_neighbours(
    runtime: RuntimeName, path: Path, images: list[Image]
) -> None:
    opened = open_network(path, BGR, RuntimeOptions(num_threads=2), runtime)
    together = opened.infer(images)["seen"]
    alone = [opened.infer([image])["seen"][0] for image in images]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("runtime", CPU)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_may_call_at_once(
    runtime: RuntimeName, num_threads: int, path: Path, images: list[Image]
) -> None:
    opened = open_network(path, BGR, RuntimeOptions(num_threads=num_threads), runtime)
    answers: dict[int, npt.NDArray[np.float32]] = {}

    def look(number: int) -> None:
        for _ in range(10):
            answers[number] = opened.infer(images[number:])["seen"]

    threads = [threading.Thread(target=look, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        np.testing.assert_allclose(answers[number], expected(images[number:]), atol=TOLERANCE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which OpenVINO's compiled networks are kept, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lakesight" / "openvino"


def test_what_is_kept_is_what_is_used(
    cache: Path, tmp_path: Path, path: Path, images: list[Image]
) -> None:
    """Shown by a swap: under the name of one network lies what was kept of another."""
    other = write_convolution(tmp_path / "other.onnx", WEIGHTS * 2, SIDE)
    first = open_network(path, BGR, RuntimeOptions(), "openvino").infer(images)["seen"]
    (kept,) = cache.iterdir()
    second = open_network(other, BGR, RuntimeOptions(), "openvino").infer(images)["seen"]
    (kept_too,) = set(cache.iterdir()) - {kept}
    assert not np.array_equal(first, second)
    kept_too.replace(kept)
    swapped = open_network(path, BGR, RuntimeOptions(), "openvino").infer(images)["seen"]
    np.testing.assert_array_equal(swapped, second)
    kept.write_bytes(b"damaged")
    mended = open_network(path, BGR, RuntimeOptions(), "openvino").infer(images)["seen"]
    np.testing.assert_array_equal(mended, first)


def test_other_weights_beside_the_same_graph_are_another_network(
    cache: Path, tmp_path: Path, images: list[Image]
) -> None:
    answers = []
    for factor in (1, 2):
        path = write_convolution(tmp_path / "conv.onnx", WEIGHTS * factor, SIDE, "conv.bin")
        answers.append(open_network(path, BGR, RuntimeOptions(), "openvino").infer(images)["seen"])
    assert len(list(cache.iterdir())) == 2
    assert not np.array_equal(answers[0], answers[1])


FIRST_CALLS = """
import sys, threading
import numpy as np
from pathlib import Path
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network

sys.setswitchinterval(1e-6)
network = Network(width=24, height=24, layout="NCHW", outputs=("seen",))
opened = open_network(Path(sys.argv[1]), network, RuntimeOptions(num_threads=2), sys.argv[2])
images = [np.zeros((24, 24, 3), np.uint8)] * 16
together = threading.Barrier(4)
threads = [
    threading.Thread(target=lambda: (together.wait(), opened.infer(images))) for _ in range(4)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("runtime", CPU)
def test_the_first_calls_of_a_process_may_come_at_once(runtime: RuntimeName, path: Path) -> None:
    for _ in range(4):  # OpenVINO's Python layer stopped for ever about one time in three
        command = [sys.executable, "-c", FIRST_CALLS, str(path), runtime]
        subprocess.run(command, check=True, timeout=60)


def test_bf16_is_close(path: Path, images: list[Image]) -> None:
    exact = expected(images)
    rounded = open_network(path, BGR, RuntimeOptions(precision="bf16"), "openvino")
    assert rounded.precision == "bf16"
    np.testing.assert_allclose(rounded.infer(images)["seen"], exact, atol=0.2)


def test_onnxruntime_refuses_bf16(path: Path) -> None:
    with pytest.raises(
        UserError, match=r"onnxruntime cannot compute conv\.onnx in bf16; .* openvino"
    ):
        open_network(path, BGR, RuntimeOptions(precision="bf16"), "onnxruntime")


@pytest.mark.parametrize("runtime", CPU)
def test_an_inner_tensor_can_be_an_output(
    runtime: RuntimeName, path: Path, images: list[Image]
) -> None:
    network = BGR.model_copy(update={"outputs": ("raw",)})
    raw = open_network(path, network, RuntimeOptions(), runtime).infer(images)["raw"]
    assert raw.min() < 0
    np.testing.assert_allclose(np.maximum(raw, 0), expected(images), atol=TOLERANCE)


@pytest.mark.parametrize("runtime", CPU)
@pytest.mark.parametrize("features", ["penultimate", "pooled"])
def test_features_are_what_the_last_layer_reads(
    runtime: RuntimeName, features: str, tmp_path: Path
) -> None:
    path = write_classifier(tmp_path / "c.onnx", np.eye(3, dtype=np.float32))
    network = Network(
        width=8, height=8, layout="NCHW", scale=(255,) * 3, outputs=("scores",), features=features
    )
    image = np.full((8, 8, 3), (51, 102, 255), np.uint8)
    tensors = open_network(path, network, RuntimeOptions(), runtime).infer([image])
    np.testing.assert_allclose(tensors["features"], [[0.2, 0.4, 1]], atol=1e-6)
    powers = np.exp([0.2, 0.4, 1])
    np.testing.assert_allclose(tensors["scores"], [powers / powers.sum()], atol=1e-6)


@pytest.mark.parametrize("runtime", CPU)
def test_a_tensor_that_is_not_there_is_the_cards_mistake(runtime: RuntimeName, path: Path) -> None:
    network = BGR.model_copy(update={"outputs": ("boxes",)})
    with pytest.raises(UserError, match=r"conv\.onnx has no tensor 'boxes'; it has .*raw"):
        open_network(path, network, RuntimeOptions(), runtime)


@pytest.mark.parametrize("runtime", CPU)
@pytest.mark.parametrize(
    "image", [np.zeros((SIDE, SIDE + 1, 3), np.uint8), np.zeros((SIDE, SIDE, 3), np.float32)]
)
def test_a_picture_of_another_shape_is_refused(
    runtime: RuntimeName, image: npt.NDArray[np.uint8], path: Path
) -> None:
    opened = open_network(path, BGR, RuntimeOptions(), runtime)
    with pytest.raises(ValueError, match=r"expected \(24, 24, 3\) uint8"):
        opened.infer([image])


def test_a_shared_network_runs_once_for_the_same_pictures(path: Path, images: list[Image]) -> None:
    shared = Shared(open_network(path, BGR, RuntimeOptions(), "openvino"))
    first = shared.infer(images)
    assert shared.infer(list(images)) is first
    assert shared.infer([image.copy() for image in images]) is first
    assert shared.num_runs == 1
    assert len(shared.infer(images[:2])["seen"]) == 2
    assert shared.num_runs == 2


def test_a_shared_network_looks_again_at_an_array_that_was_filled_anew(
    path: Path, images: list[Image]
) -> None:
    shared = Shared(open_network(path, BGR, RuntimeOptions(), "openvino"))
    camera = images[0].copy()
    shared.infer([camera])
    camera[:] = images[1]
    found = shared.infer([camera])["seen"]
    np.testing.assert_allclose(found, expected(images[1:2]), atol=TOLERANCE)


@pytest.mark.gpu
@pytest.mark.skipif(not num_nvidia_gpus(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(
    ("runtime", "precision", "tolerance"),
    [("onnxruntime", "f32", 1e-3), ("tensorrt", "f32", 1e-3), ("tensorrt", "bf16", 0.3)],
)
def test_a_gpu_gives_the_same(
    runtime: RuntimeName, precision: str, tolerance: float, path: Path, images: list[Image]
) -> None:
    options = RuntimeOptions.model_validate({"precision": precision})
    opened = open_network(path, BGR, options, runtime)
    assert opened.device == "cuda"
    np.testing.assert_allclose(opened.infer(images)["seen"], expected(images), atol=tolerance)
    assert np.array_equal(opened.infer(images)["seen"][3], opened.infer(images[3:4])["seen"][0])


SIGNALS = """
import os, signal, sys
from pathlib import Path
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.openvino import OpenVino

network = Network(width=4, height=4, layout="NCHW", scale=(102.0,) * 3)
one, two = (OpenVino(Path(sys.argv[1]), network, RuntimeOptions(num_threads=1)) for _ in "ab")
del one
del two
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_networks_were_closed(tmp_path: Path) -> None:
    """Each core of OpenVINO gives its thread a signal stack, and frees it with itself."""
    tiny_files.onnx(tmp_path / "mean.onnx")
    words = [sys.executable, "-c", SIGNALS, str(tmp_path / "mean.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
