"""A tower that starts from nothing looks near itself, and has no other weights than before."""

from typing import Any

import pytest
import torch
import transformers

from lakesight.training.blip2.tower import places, start_tower

hf: Any = transformers
SIDE, WIDTH, HEADS = 6, 64, 4


def tower() -> Any:
    config = hf.Blip2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        image_size=8 * SIDE,
        patch_size=8,
    )
    torch.manual_seed(0)
    return hf.Blip2VisionModel(config).eval()


def test_near_places_are_alike() -> None:
    told = places(SIDE, WIDTH).view(SIDE, SIDE, WIDTH)
    assert told[0, 0].abs().max() <= 1
    alike = [float(told[2, 1] @ told[2, 1 + step]) for step in range(4)]
    assert alike == sorted(alike, reverse=True)
    assert alike == pytest.approx([float(told[1, 2] @ told[1 + step, 2]) for step in range(4)])
    assert float(told[0, 0] @ told[1, 1]) < float(told[0, 0] @ told[0, 1])


def test_a_width_that_four_does_not_divide() -> None:
    assert places(3, 10).shape == (9, 10)
    assert not places(3, 10)[:, 8:].any()


@torch.no_grad()
def test_a_patch_attends_to_those_near_it() -> None:
    def near(made: Any) -> float:
        """Return how much of the attention of the first layer goes to the 3 x 3 around a patch."""
        made.set_attn_implementation("eager")
        pixels = torch.rand(4, 3, 8 * SIDE, 8 * SIDE, generator=torch.Generator().manual_seed(1))
        seen = (
            made(pixel_values=2 * pixels - 1, output_attentions=True).attentions[0].mean(dim=(0, 1))
        )
        row = seen[1 + 2 * SIDE + 3, 1:].view(SIDE, SIDE)
        return float(row[1:4, 2:5].sum() / row.sum())

    made = tower()
    before = near(made)
    assert before == pytest.approx(9 / SIDE**2, abs=0.05)
    start_tower(made, torch.Generator().manual_seed(0))
    assert near(made) > 1.5 * before


@torch.no_grad()
def test_the_same_generator_the_same_weights() -> None:
    one, two = tower(), tower()
    start_tower(one, torch.Generator().manual_seed(3))
    start_tower(two, torch.Generator().manual_seed(3))
    assert all(
        torch.equal(weight, other)
        for weight, other in zip(one.parameters(), two.parameters(), strict=True)
    )
    qkv = one.encoder.layers[0].self_attn.qkv.weight
    queries, keys, values = qkv.split(WIDTH)
    size = WIDTH // HEADS
    product = queries[:size].T @ keys[:size]
    assert float(product.diagonal().mean()) > 3 * float(product.abs().mean())
    out = one.encoder.layers[0].self_attn.projection.weight @ values
    assert float(out.diagonal().mean()) == pytest.approx(-0.4, abs=0.05)
