"""What a worker looks at in which order: the same for the same seed and epoch."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Key(NamedTuple):
    """Which sample, in which epoch: all that its augmentation depends on, beside the seed."""

    epoch: int
    number: int


class Shuffled(Sampler[Key]):
    """The keys of one epoch in an order of its own; of several workers, one's share.

    Every worker has as many: the first few are looked at twice where they do not divide.
    """

    def __init__(self, count: int, seed: int, rank: int, num_ranks: int) -> None:
        self.count, self.seed, self.rank, self.num_ranks = count, seed, rank, num_ranks
        self.epoch = 0

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        padded = np.resize(order, len(self) * self.num_ranks)
        for index in padded[self.rank :: self.num_ranks]:
            yield Key(self.epoch, int(index))

    def __len__(self) -> int:
        return math.ceil(self.count / self.num_ranks)
