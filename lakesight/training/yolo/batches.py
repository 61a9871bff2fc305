"""Samples to batches: augmented, padded, the same for the same seed, epoch and number."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lakesight.training.sampling import Key, Shuffled
from lakesight.training.yolo.assign import Objects
from lakesight.training.yolo.augment import augmented, classified
from lakesight.training.yolo.datasets import Dataset, Task
from lakesight.training.yolo.losses import Truth
from lakesight.training.yolo.sample import Sample, quads_to_xywhr
from lakesight.training.yolo.settings import TrainSettings

MASK_REDUCTION = 4
"""Truth of masks has the size of the prototypes: a quarter of the picture's side."""


class Batch(NamedTuple):
    """Pictures and what is on them."""

    images: Tensor
    """`(B, 3, H, W)` RGB, 0..255."""
    truth: Truth
    class_ids: Tensor
    """`(B,)` int64: of classified pictures, their class; or `(B, C)` of 0 and 1 where a picture may
    have several."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        found: Batch = _moved(self, device)
        return found


Batches = DataLoader[Batch]


class Augmented(TorchDataset[Sample]):
    """The dataset as training sees it."""

    def __init__(self, dataset: Dataset, task: Task, settings: TrainSettings) -> None:
        self.dataset, self.task, self.settings = dataset, task, settings

    def __getitem__(self, key: Key) -> Sample:
        settings = self.settings
        rng = np.random.default_rng([settings.seed, key.epoch, key.number])
        sample = self.dataset[key.number]
        if self.task == "classify":
            return classified(sample, settings.image_size, settings.augmentation, rng)
        return augmented(
            sample,
            lambda: self.dataset[int(rng.integers(len(self.dataset)))],
            settings.image_size,
            settings.augmentation,
            rng,
            mosaic=key.epoch < settings.epochs - settings.close_mosaic,
        )


def loader(
    dataset: Dataset,
    task: Task,
    settings: TrainSettings,
    rank: int = 0,
    num_ranks: int = 1,
    *,
    multi_label: bool = False,
) -> tuple[Batches, Shuffled]:
    """Return the batches of a worker, and the sampler whose `epoch` to set before each epoch."""
    sampler = Shuffled(len(dataset), settings.seed, rank, num_ranks)
    batches: Batches = DataLoader(
        Augmented(dataset, task, settings),  # type: ignore[arg-type]  # it collates Samples
        batch_size=settings.batch_size,
        sampler=sampler,
        num_workers=settings.num_readers,
        persistent_workers=settings.num_readers > 0,
        collate_fn=partial(collate, num_classes=len(dataset.labels) if multi_label else None),
        drop_last=len(sampler) >= settings.batch_size,
    )
    return batches, sampler


def collate(samples: Sequence[Sample], num_classes: int | None = None) -> Batch:
    """Return samples of one size as a batch, their objects padded to the most.

    With `num_classes`, a picture may have several classes, or none.
    """
    most = max(1, *(len(sample.boxes_xyxy) for sample in samples))
    images = np.stack([sample.image for sample in samples]).transpose(0, 3, 1, 2)
    return Batch(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        truth=Truth(
            objects=Objects(
                boxes=_padded([_boxes(sample) for sample in samples], most),
                class_ids=_padded([s.class_ids[: len(s.boxes_xyxy)] for s in samples], most),
                valid=torch.tensor([[n < len(s.boxes_xyxy) for n in range(most)] for s in samples]),
            ),
            instances=_maps(samples),
            keypoints=_keypoints(samples, most),
        ),
        class_ids=_classes(samples, num_classes),
    )


def resized(batch: Batch, side: int) -> Batch:
    """Return the batch with square pictures of `side` pixels, its truth scaled along."""
    factor = side / batch.images.shape[-1]
    truth = batch.truth
    scale = batch.images.new_tensor([factor] * 4 + [1.0], dtype=torch.float32)
    scale = scale[: truth.objects.boxes.shape[-1]]
    images = functional.interpolate(batch.images.float(), (side, side), mode="bilinear")
    instances, keypoints = truth.instances, truth.keypoints
    if instances is not None:
        small = side // MASK_REDUCTION
        instances = functional.interpolate(instances[:, None].float(), (small, small))[:, 0].long()
    if keypoints is not None:
        keypoints = keypoints * keypoints.new_tensor([factor, factor, 1.0])
    objects = truth.objects._replace(boxes=truth.objects.boxes * scale)
    return batch._replace(images=images, truth=Truth(objects, instances, keypoints))


def _classes(samples: Sequence[Sample], num_classes: int | None) -> Tensor:
    """Return the class of every picture `(B,)`, or which of several classes it has `(B, C)`."""
    if num_classes is None:
        return torch.tensor([int(s.class_ids[0]) if len(s.class_ids) else -1 for s in samples])
    found = torch.zeros(len(samples), num_classes)
    for row, sample in enumerate(samples):
        found[row, torch.from_numpy(sample.class_ids)] = 1
    return found


def _moved(values: Any, device: torch.device) -> Any:
    """Return tensors on a device, in named tuples as they are in."""
    if isinstance(values, Tensor):
        return values.to(device, non_blocking=True)
    if values is None:
        return None
    return type(values)(*(_moved(value, device) for value in values))


def _boxes(sample: Sample) -> np.ndarray:
    return sample.boxes_xyxy if sample.quads is None else quads_to_xywhr(sample.quads)


def _padded(arrays: Sequence[np.ndarray], most: int) -> Tensor:
    """Return arrays `(N, ...)` as one tensor `(B, most, ...)`, filled up with zeros."""
    padded = np.zeros((len(arrays), most, *arrays[0].shape[1:]), arrays[0].dtype)
    for number, array in enumerate(arrays):
        padded[number, : len(array)] = array
    return torch.from_numpy(padded)


def _keypoints(samples: Sequence[Sample], most: int) -> Tensor | None:
    found = [sample.keypoints for sample in samples if sample.keypoints is not None]
    return _padded(found, most) if len(found) == len(samples) else None


def _maps(samples: Sequence[Sample]) -> Tensor | None:
    """Return the instance maps `(B, h, w)` at the size of the prototypes, pixel by pixel."""
    found = [sample.instances for sample in samples if sample.instances is not None]
    if len(found) < len(samples):
        return None
    middle = MASK_REDUCTION // 2
    small = [each[middle::MASK_REDUCTION, middle::MASK_REDUCTION] for each in found]
    return torch.from_numpy(np.stack(small).astype(np.int64))
