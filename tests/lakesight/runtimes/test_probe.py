"""Whether a runtime works is found by running something, and said where nothing was run."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import ENGINES, installed, num_nvidia_gpus
from lakesight.runtimes.probe import COMPILED, probe
from lakesight.runtimes.tiny_files import SIDE, WRITERS

HERE = [
    name
    for name in get_args(RuntimeName)
    if any(one.runtime == name and installed(one.module) for one in ENGINES)
]


@pytest.mark.parametrize("runtime", HERE)
def test_what_is_installed_works(runtime: RuntimeName) -> None:
    found = probe(runtime)
    assert found.works, found
    assert found.version is not None
    assert found.detail.startswith("imported, not run" if runtime in COMPILED else "on c")


@pytest.mark.skipif(num_nvidia_gpus() > 0, reason="this machine has a GPU")
def test_what_is_missing_is_said() -> None:
    found = probe("tensorrt")
    assert not found.works
    assert "lakesight[gpu]" in found.detail


@pytest.mark.parametrize("ending", WRITERS)
def test_a_tiny_file_gives_the_mean_of_its_own_picture(ending: str, tmp_path: Path) -> None:
    """Nothing that answers the same to every picture would pass."""
    path = tmp_path / f"mean{ending}"
    WRITERS[ending](path)
    layout = "NHWC" if ending == ".tflite" else "NCHW"
    network = Network(width=SIDE, height=SIDE, layout=layout, scale=(255,) * 3)
    opened = open_network(path, network, RuntimeOptions(num_threads=1))
    pictures = [np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (51, 204)]
    (means,) = opened.infer(pictures).values()
    np.testing.assert_allclose(means.reshape(2, -1)[:, 0], [0.2, 0.8], atol=1e-6)
