"""Torch as a runtime: a module, and files that hold programs."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models.base import Image
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.choose import open_network
from lakesight.runtimes.engines import num_nvidia_gpus
from lakesight.runtimes.torch import TorchModule, open_on_cpu, open_on_cuda

SIDE = 24
NETWORK = Network(width=SIDE, height=SIDE, layout="NCHW", scale=(255,) * 3)
ENDINGS = (".pt2", ".torchscript")
ONE = RuntimeOptions(num_threads=1)
on_gpu = pytest.mark.skipif(not num_nvidia_gpus(), reason="needs an NVIDIA GPU")


class Shifted(nn.Module):
    """A convolution, and a constant that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 5, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        shift = torch.arange(5.0, device=pixels.device)[:, None, None]
        seen: Tensor = self.convolution(pixels)
        return seen + shift.to(pixels.dtype)


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("programs")
    example = torch.zeros(1, 3, SIDE, SIDE)
    torch.export.save(torch.export.export(Shifted().eval(), (example,)), folder / "m.pt2")
    jit: Any = torch.jit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript warns of its end
        jit.save(jit.freeze(jit.trace(Shifted().eval(), example)), folder / "m.torchscript")
    return {ending: folder / f"m{ending}" for ending in ENDINGS}


def expected(images: list[Image]) -> npt.NDArray[np.float32]:
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        answer: npt.NDArray[np.float32] = Shifted().eval()(pixels).numpy()
    return answer


def test_a_module_gives_its_own_values(images: list[Image]) -> None:
    opened = TorchModule(Shifted().eval(), NETWORK, ONE)
    assert (opened.name, opened.device) == ("torch", "cpu")
    np.testing.assert_allclose(opened.infer(images)["output_0"], expected(images), atol=1e-5)


def test_the_callers_module_stays_as_it_is(images: list[Image]) -> None:
    module = Shifted().eval()
    opened = TorchModule(module, NETWORK, RuntimeOptions(precision="bf16", num_threads=1))
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}
    found = opened.infer(images)["output_0"]
    np.testing.assert_allclose(found, expected(images), atol=0.05)
    assert not np.allclose(found, expected(images), atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_saved_program_gives_the_same(
    ending: str, files: dict[str, Path], images: list[Image]
) -> None:
    with pytest.raises(UserError, match="runs code that is in it, so auto does not"):
        open_network(files[ending], NETWORK, ONE)
    opened = open_network(files[ending], NETWORK, ONE, "torch")
    np.testing.assert_allclose(opened.infer(images)["output_0"], expected(images), atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_computes_as_it_was_saved(ending: str, files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="computes as it was saved, not in bf16"):
        open_on_cpu(files[ending], NETWORK, RuntimeOptions(precision="bf16"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_program_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{ending}"
    path.write_bytes(b"this is no program" * 30)
    with pytest.raises(UserError, match=f"torch cannot read m{ending}: .*Export it again"):
        open_on_cpu(path, NETWORK, ONE)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_gpu_gives_a_program_every_digit(
    ending: str, files: dict[str, Path], images: list[Image]
) -> None:
    module = Shifted().eval()
    for opened in (
        open_on_cuda(files[ending], NETWORK, ONE),
        TorchModule(module, NETWORK, ONE, "cuda"),
    ):
        assert opened.device == "cuda"
        np.testing.assert_allclose(opened.infer(images)["output_0"], expected(images), atol=1e-5)
    assert module.convolution.weight.device.type == "cpu"
