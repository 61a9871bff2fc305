"""Reordered weights: the same numbers, and who is left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from lakesight.models.base import Image
from lakesight.models.packed import PackedLinear, can_pack, pack
from lakesight.models.pretrained import DTYPES

Checkpoint = Callable[[str], Path]
Load = Callable[..., Any]


def packable(dtype: torch.dtype) -> bool:
    return can_pack(torch.empty(1, dtype=dtype))


needs_x86 = pytest.mark.skipif(not packable(torch.float32), reason="no x86 CPU with oneDNN")
needs_bf16 = pytest.mark.skipif(not packable(torch.bfloat16), reason="a CPU without bfloat16")


class Apart(nn.Linear):
    """A layer with a class of its own, which may do more than multiply."""


class Two(nn.Module):
    """A layer with a bias, and one without, tied to an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(90, 70)
        self.inner = nn.Sequential(nn.Linear(70, 70), nn.GELU())
        self.head = nn.Linear(70, 90, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        mapped: Tensor = self.head(self.inner(self.words(ids)))
        return mapped


def made(dtype: torch.dtype) -> Two:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Two().to(dtype).eval()


@needs_x86
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), pytest.param(torch.bfloat16, 0.0, marks=needs_bf16)],
)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (3, 40), (9,)])
@torch.inference_mode()
def test_numbers_stay(dtype: torch.dtype, tolerance: float, shape: tuple[int, ...]) -> None:
    ids = torch.arange(torch.Size(shape).numel()).reshape(shape) % 90
    plain, packed = made(dtype), pack(made(dtype))
    assert type(packed.inner[0]) is type(packed.head) is PackedLinear
    assert packed.words.weight.equal(plain.words.weight)
    torch.testing.assert_close(packed(ids), plain(ids), rtol=0, atol=tolerance)


def test_what_cannot_be_packed_stays() -> None:
    half, apart = nn.Linear(4, 4).half(), nn.Sequential(Apart(4, 4))
    elsewhere = nn.Sequential(nn.Linear(4, 4, device="meta"))
    for model, layer in (
        (pack(nn.Sequential(half)), half),
        (pack(apart), apart[0]),
        (pack(elsewhere), elsewhere[0]),
    ):
        assert model[0] is layer
        assert isinstance(layer, nn.Linear)


@needs_x86
@pytest.mark.parametrize("name", ["blip", "blip2-opt", "blip2-t5"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=needs_bf16)])
def test_captions_stay(
    name: str,
    dtype: str,
    checkpoint: Checkpoint,
    load: Load,
    pictures: Callable[..., list[Image]],
) -> None:
    views, rows = pictures(3), pa.table({"prompt": [None, "a red", "what is this?"]})
    model = load(checkpoint(name), dtype=dtype, max_new_tokens=8, num_beams=1)
    network = model.author.writer._model
    layers = [layer for layer in network.modules() if isinstance(layer, PackedLinear)]
    assert layers
    assert not [layer for layer in network.modules() if type(layer) is nn.Linear]
    assert {layer.weight.dtype for layer in layers} == {DTYPES[dtype]}
    found = model.predict(views, rows)
    for parent in [*network.modules()]:
        for name_of_child, child in parent.named_children():
            if isinstance(child, PackedLinear):
                setattr(parent, name_of_child, unpacked(child))
    again = [view.copy() for view in views]  # what was seen is kept for the same arrays
    assert model.predict(again, rows) == found


def unpacked(layer: PackedLinear) -> nn.Linear:
    plain = nn.Linear(1, 1, bias=layer.bias is not None)
    plain.weight = nn.Parameter(layer.weight.to_dense())
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias)
    return plain
