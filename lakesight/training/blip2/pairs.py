"""Pictures with a text each, as batches: the same for the same seed, epoch and number."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lakesight.training.blip2.mirrors import Mirrors
from lakesight.training.blip2.regions import Labels, RegionLabels
from lakesight.training.blip2.texts import Told
from lakesight.training.blip2.views import Array, Inputs
from lakesight.training.sampling import Key, Shuffled

Tokenise = Callable[[str], list[int]]
"""A text to its tokens, [CLS] first and [SEP] last, cut to the context."""


class Pair(NamedTuple):
    """A picture and a text about it."""

    picture: Array
    """What the network takes of it: see `views.Inputs`."""
    ids: list[int]
    text: int
    """The same number for the same tokens, whatever process they are in."""
    regions: Labels
    """`(N, 2 V)`, see `regions.patch_labels`; V is 0 where nobody learns them."""


class PairBatch(NamedTuple):
    """B pictures with a text each."""

    pictures: Sequence[Array]
    """What the network takes of each."""
    ids: Tensor
    """`(B, S)` int64, padded on the right."""
    mask: Tensor
    """`(B, S)` int64: 1 where a token is."""
    texts: Tensor
    """`(B,)` int64: equal where texts are equal."""
    regions: Tensor
    """`(B, N, 2 V)` int8, see `regions.patch_labels`."""

    def to(self, device: torch.device) -> "PairBatch":
        """Return the batch with its texts and regions on a device; its pictures stay."""
        return PairBatch(self.pictures, *(one.to(device) for one in self[1:]))


class PairDataset(TorchDataset[Pair]):
    """Each picture with one of its texts, another one in every epoch."""

    def __init__(
        self,
        told: Sequence[Told],
        inputs: Inputs,
        tokenise: Tokenise,
        labels: RegionLabels,
        seed: int,
        mirrors: Mirrors,
    ):
        self.told, self.inputs, self.tokenise, self.labels = told, inputs, tokenise, labels
        self.seed, self.mirrors = seed, mirrors

    def __getitem__(self, key: Key) -> Pair:
        one = self.told[key.number]
        rng = np.random.default_rng([self.seed, key.epoch, key.number])
        text = one.captions[int(rng.integers(len(one.captions)))]
        seen, regions = self.labels.drawn(one, self.inputs, self.mirrors, rng)
        ids = self.tokenise(text)
        return Pair(seen.pixels, ids, number_of(ids), regions)


def number_of(ids: Sequence[int]) -> int:
    """Return 63 bits of a hash of a text as the network reads it."""
    digest = hashlib.blake2b(np.array(ids, "<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def padded(ids: Sequence[Sequence[int]], pad_id: int, length: int | None) -> tuple[Tensor, Tensor]:
    """Return `(ids, mask)`, both `(B, S)`; S is the longest, or `length`."""
    width = length or max(map(len, ids))
    rows = torch.full((len(ids), width), pad_id)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for row, one in enumerate(ids):
        rows[row, : len(one)] = torch.tensor(one)
        mask[row, : len(one)] = 1
    return rows, mask


class Collate:
    """Pairs to a batch; picklable, for readers of their own."""

    def __init__(self, pad_id: int, length: int | None) -> None:
        self.pad_id, self.length = pad_id, length

    def __call__(self, pairs: Sequence[Pair]) -> PairBatch:
        """Return the pairs together."""
        ids, mask = padded([pair.ids for pair in pairs], self.pad_id, self.length)
        texts = torch.tensor([pair.text for pair in pairs])
        regions = torch.from_numpy(np.stack([pair.regions for pair in pairs]))
        return PairBatch([pair.picture for pair in pairs], ids, mask, texts, regions)


def pair_loader(
    dataset: PairDataset,
    collate: Collate,
    batch_size: int,
    num_readers: int,
    place: tuple[int, int],
) -> tuple[DataLoader[Any], Shuffled]:
    """Return the batches of process number `place[0]` of `place[1]`, and what draws them."""
    sampler = Shuffled(len(dataset.told), dataset.seed, *place)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_readers,
        persistent_workers=num_readers > 0,
        collate_fn=collate,
        drop_last=len(sampler) >= batch_size,
    )
    return loader, sampler
