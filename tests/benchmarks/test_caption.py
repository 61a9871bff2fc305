"""The caption benchmark: both write the same. No test looks at the time."""

from pathlib import Path

import pytest
import torch

from benchmarks.caption import main
from benchmarks.peak import peak_of
from tests.lakesight.models import tiny

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_ours_writes_what_transformers_writes(
    dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--shape", "small", "--batch", "3", "--tokens", "5", "--prompts", "2"]
    figures = main([*words, "--dtype", dtype, "--rounds", "1"])
    assert figures["equal_words"] == 1
    assert figures["distinct_captions"] > 1
    assert 8 <= figures["million_parameters"] <= 12
    assert figures["tflop_a_caption"]["ours"] < figures["tflop_a_caption"]["documented"]
    assert '"times_faster"' in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("name", ["blip2-opt", "blip2-t5"])
def test_a_folder_is_measured_as_it_is(name: str, tmp_path: Path) -> None:
    folder = tiny.write(name, tmp_path / name)
    words = ["--model", str(folder), "--batch", "2", "--tokens", "6", "--prompts", "2"]
    figures = main([*words, "--dtype", "float32", "--rounds", "1"])
    assert figures["equal_words"] == 1
    assert figures["distinct_captions"] > 1


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L40", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("cpu", None),
    ],
)
def test_a_card_has_the_peak_of_its_own_data_sheet(card: str, peak: float | None) -> None:
    assert peak_of(card) == peak


@pytest.mark.gpu
@on_gpu
def test_the_full_shape_runs_on_a_gpu_in_bfloat16() -> None:
    figures = main(["--batch", "8", "--tokens", "30", "--rounds", "2"])
    assert figures["million_parameters"] > 3_700
    assert figures["captions_s"]["ours"] > 0
    assert 0 < figures["share_of_that"]["ours"] < 1
    assert figures["equal_words"] > 0.5  # kernels may round differently, and captions part late
