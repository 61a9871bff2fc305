"""The smallest data that a training can tell apart."""

import numpy as np

from lakesight.training.yolo.sample import Sample


class Coloured:
    """Four square pictures of noise, each around a colour of its own, of two classes."""

    labels = ("red", "blue")

    def __init__(self, side: int) -> None:
        self._side = side

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        shape = (self._side, self._side, 3)
        image = np.random.default_rng(index).integers(0, 90, shape, np.uint8)
        image[..., index % 3] += 100
        return Sample(image, class_ids=np.array([index % 2]))
