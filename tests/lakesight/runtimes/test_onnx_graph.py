"""ONNX files with tensors in other files: beside them, or where they must not be."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from lakesight.errors import UserError
from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.onnx_graph import external_files
from tests.lakesight.models.onnx_files import write_convolution

WEIGHTS = np.full((1, 3, 8, 8), 1 / 192, np.float32)
NETWORK = Network(width=8, height=8, layout="NCHW", scale=(255,) * 3)
RUNTIMES: tuple[RuntimeName, ...] = ("openvino", "onnxruntime")


def point_at(path: Path, location: str) -> None:
    """Let the external tensors of an ONNX file lie at another place."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_data_beside_the_file_is_read(runtime: RuntimeName, tmp_path: Path) -> None:
    path = write_convolution(tmp_path / "m.onnx", WEIGHTS, 8, external="m.data")
    assert external_files(path) == ["m.data"]
    opened = open_network(path, NETWORK, RuntimeOptions(), runtime)
    grey = np.full((8, 8, 3), 51, np.uint8)
    np.testing.assert_allclose(opened.infer([grey])["seen"].ravel(), [0.2], atol=1e-6)


@pytest.mark.parametrize(
    "location", ["../secret.data", "/etc/hostname", "folder/../../secret.data"]
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_data_elsewhere_is_refused(runtime: RuntimeName, location: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = write_convolution(tmp_path / "model" / "m.onnx", WEIGHTS, 8, external="m.data")
    shutil.copy(tmp_path / "model" / "m.data", tmp_path / "secret.data")
    point_at(path, location)
    with pytest.raises(UserError, match="outside its own folder"):
        open_network(path, NETWORK, RuntimeOptions(), runtime)


def test_data_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = write_convolution(tmp_path / "model" / "m.onnx", WEIGHTS, 8, external="m.data")
    (tmp_path / "model" / "m.data").rename(tmp_path / "secret.data")
    (tmp_path / "model" / "m.data").symlink_to(tmp_path / "secret.data")
    with pytest.raises(UserError, match="outside its own folder"):
        external_files(path)


def test_a_file_without_external_data_names_none(tmp_path: Path) -> None:
    assert external_files(write_convolution(tmp_path / "m.onnx", WEIGHTS, 8)) == []
