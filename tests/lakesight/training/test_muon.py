"""Muon is torch's own, in float32 on a CPU."""

import pytest
import torch

from lakesight.training.muon import Muon, orthogonal

SHAPES = [(8, 24), (24, 8), (16, 16)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_moves_weights_as_torchs_own_does(shape: tuple[int, int]) -> None:
    """But for the rounding of bf16, in which torch computes."""
    generator = torch.Generator().manual_seed(1)
    start, *gradients = (torch.randn(shape, generator=generator) for _ in range(5))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = (
        Muon([{"params": [ours]}], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for gradient in gradients:
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    assert not torch.allclose(ours, start, atol=0.1)
    torch.testing.assert_close(ours.detach(), theirs.detach(), atol=6e-3, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_moves_is_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonal(1e-3 * matrix))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_what_has_no_gradient_stays() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    Muon([{"params": [weight]}], lr=0.1).step()
    assert torch.equal(weight, torch.ones(2, 2))
