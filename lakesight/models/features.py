"""What a model makes of pictures and texts short of an answer: `extract_features`."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lakesight.models.base import Image

Mode = Literal["image", "text", "multimodal"]
Level = Literal["hidden", "projected"]


class Features(NamedTuple):
    """What `extract_features` returns; shapes are in its docstring."""

    values: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_] | None
    """`(T, S)`: where a token is, of tokens' states; else None."""


@runtime_checkable
class FeatureExtractor(Protocol):
    """A model that gives features of pictures and texts, and matches them: `ImageText`."""

    def extract_features(
        self,
        images: Sequence[Image] = (),
        texts: Sequence[str] = (),
        mode: Mode = "image",
        level: Level = "projected",
    ) -> Features:
        """See `lakesight.models.image_text.ImageText.extract_features`."""
        ...

    def match(self, images: Sequence[Image], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the probability `(B,)` that each picture and its text belong together."""
        ...


def joined(parts: Sequence[Features]) -> Features:
    """Return the rows of all parts; tokens are padded to the longest row, with noughts."""
    longest = max(part.values.shape[1] for part in parts)
    values = np.concatenate([_padded(part.values, longest) for part in parts])
    masks = [_padded(part.mask, longest) for part in parts if part.mask is not None]
    return Features(values, np.concatenate(masks) if masks else None)


def _padded(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    gap = [(0, 0)] * array.ndim
    gap[1] = (0, length - array.shape[1])
    return np.pad(array, gap)
