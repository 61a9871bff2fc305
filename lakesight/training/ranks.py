"""The processes that train together: who one is, and what all of them agree on."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor


def place() -> tuple[int, int]:
    """Return this process's number and how many there are."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def extent(number: int, device: torch.device) -> tuple[int, int]:
    """Return the least and the largest of a number that every process has one of."""
    if place()[1] == 1:
        return number, number
    both = torch.tensor([-number, number], device=device)
    torch.distributed.all_reduce(both, torch.distributed.ReduceOp.MAX)
    return -int(both[0]), int(both[1])


def of_the_first(number: int, device: torch.device) -> int:
    """Return the number that the first process has."""
    if place()[1] == 1:
        return number
    known = torch.tensor([number], device=device)
    torch.distributed.broadcast(known, 0)
    return int(known)


def mean(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the mean of each value over all processes, which have the same names."""
    num_ranks = place()[1]
    if num_ranks == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return dict(zip(values, (total / num_ranks).tolist(), strict=True))


def share_of(count: Tensor) -> Tensor | float:
    """Return how many times the mean count of all processes this process's own is."""
    num_ranks = place()[1]
    if num_ranks == 1:
        return 1.0
    total = count.clone()
    torch.distributed.all_reduce(total)
    return count * num_ranks / total.clamp(min=1)


def all_rows(values: Tensor) -> Tensor:
    """Return the rows of all processes, in their order, without gradients; all have as many."""
    if place()[1] == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(place()[1])]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def gathered(values: Tensor) -> Tensor:
    """Return the rows of all processes, this process's own first; gradients flow back to each.

    All of them have as many.
    """
    if place()[1] == 1:
        return values
    found: Tensor = _Gathered.apply(values)  # type: ignore[no-untyped-call]  # torch's own gap
    return found


class _Gathered(torch.autograd.Function):
    """The rows of all; the gradient of a process's rows is the sum of what all make of them."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        rank, num_ranks = place()
        parts = [torch.empty_like(values) for _ in range(num_ranks)]
        torch.distributed.all_gather(parts, values.contiguous())
        return torch.cat([values, *parts[:rank], *parts[rank + 1 :]])

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        rank, num_ranks = place()
        own, *others = gradients[0].chunk(num_ranks)
        every = torch.stack([*others[:rank], own, *others[rank:]]).float()
        torch.distributed.all_reduce(every)
        return every[rank].to(own.dtype)
