"""Batches: the same for the same seed, epoch and number, whoever reads the pictures."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lakesight.training.sampling import Key
from lakesight.training.yolo.augment import Augmentation
from lakesight.training.yolo.batches import Augmented, Batch, loader
from lakesight.training.yolo.sample import Sample
from lakesight.training.yolo.settings import TrainSettings

SIDE, COUNT = 64, 6


@dataclass(frozen=True)
class Rectangles:
    """Pictures of one filled rectangle each."""

    labels: tuple[str, ...] = ("pale", "dark")

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        left, top = (int(value) for value in rng.integers(0, 24, 2))
        image[top : top + 30, left : left + 36] = 40 * index
        box = np.array([[left, top, left + 36, top + 30]], np.float32)
        return Sample(image, box, np.array([index % 2]))


def epochs_of(num_readers: int, rank: int = 0, num_ranks: int = 1) -> list[list[Batch]]:
    """Return the batches of two epochs."""
    settings = TrainSettings(
        epochs=3, batch_size=2, image_size=SIDE, num_readers=num_readers, close_mosaic=2
    )
    batches, sampler = loader(Rectangles(), "detect", settings, rank, num_ranks)
    found = []
    for epoch in (0, 1):
        sampler.epoch = epoch
        found.append(list(batches))
    return found


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.images, right.images)
        pairs = zip(left.truth.objects, right.truth.objects, strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("rank", [0, 1])
def test_readers_in_other_processes_give_the_same_batches(rank: int) -> None:
    alone, read = epochs_of(0, rank, 2), epochs_of(2, rank, 2)
    for one, other in zip(alone, read, strict=True):
        assert_same(one, other)
    assert not torch.equal(alone[0][0].images, alone[1][0].images), "every epoch has its own"


def test_the_last_epochs_show_whole_pictures() -> None:
    """Mosaic, mixup and copy-paste are closed; nothing else is asked for here."""
    plain = Augmentation(
        mixup=1, hue=0, saturation=0, value=0, translate=0, scale=0, flip_horizontal=0
    )
    settings = TrainSettings(epochs=5, close_mosaic=2, image_size=SIDE, augmentation=plain)
    pictures = Augmented(Rectangles(), "detect", settings)
    for epoch in range(5):
        for number in range(COUNT):
            found, whole = pictures[Key(epoch, number)], Rectangles()[number]
            off = np.abs(found.image.astype(int) - whole.image).mean()  # by rounding of colours
            same = found.boxes_xyxy.tolist() == whole.boxes_xyxy.tolist() and off < 3
            assert same == (epoch >= 3), (epoch, off)


def test_the_workers_of_a_training_share_the_pictures_of_an_epoch() -> None:
    whole = {image.numpy().tobytes() for batch in epochs_of(0)[1] for image in batch.images}
    parts = [
        {image.numpy().tobytes() for batch in epochs_of(0, rank, 3)[1] for image in batch.images}
        for rank in range(3)
    ]
    assert len(whole) == COUNT
    assert set.union(*parts) == whole
    assert [len(part) for part in parts] == [2, 2, 2]
