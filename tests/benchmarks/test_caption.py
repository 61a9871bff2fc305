"""That both contenders of the caption benchmark write the same; no test looks at the time."""

import pytest
import torch

from benchmarks.caption import main

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
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


@pytest.mark.gpu
@on_gpu
def test_the_full_shape_runs_on_a_gpu_in_bfloat16() -> None:
    figures = main(["--batch", "8", "--tokens", "30", "--rounds", "2"])
    assert figures["million_parameters"] > 3_700
    assert figures["captions_s"]["ours"] > 0
    assert 0 < figures["share_of_that"]["ours"] < 1
    assert figures["equal_words"] > 0.9
