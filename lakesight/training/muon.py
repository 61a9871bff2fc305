"""Muon: momentum whose matrices are made orthogonal before they move the weights.

After Jordan et al., https://kellerjordan.github.io/posts/muon/, with the step sizes of Liu et al.,
arXiv:2502.16982. It is `torch.optim.Muon`, but for the arithmetic on a CPU: torch's is in bf16,
which took 25 ms for a matrix of 192 x 768 on a core without bf16, where float32 takes 5 ms.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lakesight.training import ranks

ITERATIONS = 5
FACTORS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial of Newton and Schulz: they bring singular values near 1 in few iterations."""
RMS = 0.2
"""Root mean square of what moves, about that of AdamW, so that both take the same rates."""


class Muon(torch.optim.Optimizer):
    """Moves matrices `(rows, columns)`, with Nesterov's momentum and decoupled weight decay."""

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the weights that have a gradient, which is the same in all processes."""
        moving = [
            (group, weight)
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None
        ]
        directions = all_orthogonal(self._ahead(*one) for one in moving)
        for (group, weight), direction in zip(moving, directions, strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            rate = group["lr"] * RMS * max(weight.shape) ** 0.5
            weight.add_(direction, alpha=-rate)

    def _ahead(self, group: dict[str, Any], weight: Tensor) -> Tensor:
        """Return Nesterov's momentum of a weight, after its gradient."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        mean = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
        return weight.grad.lerp(mean, group["momentum"])


def all_orthogonal(given: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what `orthogonal` makes of each; of several processes each does its share.

    All of them have the same matrices, and then hold them together, twice: one process holds one.
    """
    rank, num_ranks = ranks.place()
    if num_ranks == 1:
        yield from map(orthogonal, given)
        return
    matrices = list(given)
    if not matrices:
        return
    owners = _shared_out([min(one.shape) ** 2 * max(one.shape) for one in matrices], num_ranks)
    counts = [0] * num_ranks
    for one, owner in zip(matrices, owners, strict=True):
        counts[owner] += one.numel()
    own = matrices[0].new_zeros(max(counts))
    done = [
        orthogonal(one).flatten()
        for one, owner in zip(matrices, owners, strict=True)
        if owner == rank
    ]
    if done:
        own[: counts[rank]] = torch.cat(done)
    every = ranks.all_rows(own).view(num_ranks, -1)
    rests = [part[:count] for part, count in zip(every, counts, strict=True)]
    for one, owner in zip(matrices, owners, strict=True):
        flat, rests[owner] = rests[owner].tensor_split([one.numel()])
        yield flat.view_as(one)


def _shared_out(costs: Sequence[int], num_ranks: int) -> list[int]:
    """Return who does what, so that all take about as long: the dearest first, to who has least."""
    loads, owners = [0] * num_ranks, [0] * len(costs)
    for place in sorted(range(len(costs)), key=lambda place: -costs[place]):
        owner = loads.index(min(loads))
        loads[owner] += costs[place]
        owners[place] = owner
    return owners


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about the nearest matrix `(rows, columns)` whose singular values are all 1.

    They come out between 0.7 and 1.2, which serves as well (Jordan et al.).
    """
    a, b, c = FACTORS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    now = wide.float() if matrix.device.type == "cpu" else wide.bfloat16()
    now = now / now.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = now @ now.T
        square = torch.addmm(square, square, square, beta=b, alpha=c)
        now = torch.addmm(now, square, now, beta=a)
    return (now if wide is matrix else now.T).to(matrix.dtype)
