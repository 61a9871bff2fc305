"""The processes that train together: who one is, and what all of them agree on."""

from collections.abc import Mapping

import torch
import torch.distributed


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
