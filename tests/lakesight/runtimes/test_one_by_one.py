"""What the engines that take one picture a call share; what they give: tests of exporting."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lakesight.errors import UserError
from lakesight.models.artefact import stage
from lakesight.models.base import Image
from lakesight.models.packaged import MOVENET_LIGHTNING
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import readers

KEYPOINTS = "StatefulPartitionedCall:0"
NETWORK = Network(width=192, height=192, outputs=(KEYPOINTS,))


@pytest.fixture(autouse=True)
def the_same_threads_after() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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


@pytest.mark.parametrize("name", ["m.param", "m.mnn", "m.pte", "m.tflite", "m.aoti"])
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"these are not the weights of any network" * 30)
    path.with_suffix(".bin").write_bytes(b"")
    engine = readers(name)[-1]
    network = Network(width=96, height=96, layout="NCHW")
    with pytest.raises(UserError, match=f"{name}.*(export it again|cannot)|cannot read {name}"):
        engine.open(path, network, RuntimeOptions(num_threads=1))
