"""Pictures as a network takes them: pixels, or what its frozen tower saw of them.

Shapes: B pictures, N patches, D units of the vision tower.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lakesight.errors import UserError
from lakesight.media.decode import Decoded, MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView
from lakesight.models.pretrained import Pixels
from lakesight.training import ranks
from lakesight.training.blip2.texts import Told

Keep = Literal["nothing", "views", "features"]
Array = npt.NDArray[Any]
AT_ONCE = 64
"""Pictures that a tower looks at together, ahead of a training."""


class Look(NamedTuple):
    """How the vision tower sees."""

    view: ImageView
    pixels: Pixels


class Seen(NamedTuple):
    """A picture as a model sees it."""

    pixels: Array
    """`(H, W, 3)` uint8; of `Inputs`, what the network takes in their place."""
    width: int
    """Of the picture itself, in pixels, upright; so is `height`."""
    height: int


class Views:
    """The pictures of a training as the model sees them, by what is told of them.

    With `keep`, every picture is read and drawn once, and `height x width x 3` bytes of it kept.
    """

    def __init__(self, told: Iterable[Told], view: ImageView, *, keep: bool = False) -> None:
        self.view = view
        self._numbers = numbered(told) if keep else {}
        count = len(self._numbers)
        self._pixels = temporary(np.uint8, (count, view.height, view.width, 3))
        self._sizes_wh = temporary(np.int32, (count, 2))  # 0 x 0 where nothing is kept yet

    def __getitem__(self, one: Told) -> Seen:
        """Return a picture; UserError where it cannot be read."""
        number = self._numbers.get(one.path)
        if number is None:
            return self._read(one)
        if not self._sizes_wh[number].all():
            read = self._read(one)
            self._pixels[number] = read.pixels
            self._sizes_wh[number] = read.width, read.height  # last: they say that it is there
        return Seen(self._pixels[number], *self._sizes_wh[number].tolist())

    def num_kept(self) -> int:
        """Return how many pictures are kept by now, by any of the processes that share this."""
        return int(self._sizes_wh.all(axis=1).sum())

    def _read(self, one: Told) -> Seen:
        decoded = looked_at(one, self.view)
        return Seen(decoded.views[0], decoded.width, decoded.height)


class Inputs:
    """What a network takes of each picture: pixels `(H, W, 3)`, or its tower's features `(N, D)`.

    With `keep="features"` the tower, which must be frozen, is to look at every picture before
    anything is learned (`look_ahead`): `see` maps pixels `(B, 3, H, W)` to features `(B, N, D)`,
    which are kept as float16. Until then it is pixels.
    """

    def __init__(
        self, told: Sequence[Told], look: Look, keep: Keep, see: Callable[[Tensor], Tensor]
    ) -> None:
        self.look, self._see = look, see
        self.views = Views(told, look.view, keep=keep == "views")
        self._numbers = numbered(told) if keep == "features" else {}
        first = {one.path: one for one in reversed(told)}
        self._pictures = _Pictures(self.views, [first[path] for path in self._numbers])
        self._features: Array | None = None
        self._sizes_wh = temporary(np.int32, (len(self._numbers), 2))

    def __getitem__(self, one: Told) -> Seen:
        """Return what the network takes of a picture; UserError where it cannot be read."""
        if self._features is None:
            return self.views[one]
        number = self._numbers[one.path]
        return Seen(self._features[number], *self._sizes_wh[number].tolist())

    def batch(self, inputs: Sequence[Array]) -> Tensor:
        """Return pixels `(B, 3, H, W)`, or features `(B, N, D)`, on the device."""
        if self._features is None:
            pixels: Tensor = self.look.pixels(inputs)
            return pixels
        return torch.from_numpy(np.stack(inputs)).to(self.look.pixels.device).float()

    def look_ahead(self, num_readers: int) -> None:
        """Keep the features of every picture, where they are to be kept, and are not yet.

        Where several processes train, all of them call this; each looks at its share.
        """
        if not self._numbers or self._features is not None:
            return
        count, (rank, num_ranks) = len(self._numbers), ranks.place()
        each = min(AT_ONCE, math.ceil(count / num_ranks))
        starts = range(0, count, each * num_ranks)
        # Every process looks at as many; behind the last picture it is the last one again.
        own = [np.arange(each) + start + rank * each for start in starts]
        loader: DataLoader[Any] = DataLoader(
            self._pictures,
            batch_sampler=[numbers.clip(max=count - 1).tolist() for numbers in own],
            num_workers=num_readers,
            collate_fn=list,
        )
        features = None
        for start, seen in zip(starts, loader, strict=True):
            pixels = self.look.pixels([one.pixels for one in seen])
            found = ranks.all_rows(self._see(pixels).half()).cpu().numpy()
            sizes = torch.tensor([one[1:] for one in seen], device=self.look.pixels.device)
            sizes_wh = ranks.all_rows(sizes).cpu().numpy()
            if features is None:
                features = temporary(np.float16, (count, *found.shape[1:]))
            part = features[start : start + each * num_ranks]
            part[:] = found[: len(part)]
            self._sizes_wh[start : start + len(part)] = sizes_wh[: len(part)]
        self._features = features


class _Pictures(TorchDataset[Seen]):
    """Pictures by their number, for readers of their own."""

    def __init__(self, views: Views, told: Sequence[Told]) -> None:
        self.views, self.told = views, told

    def __getitem__(self, number: int) -> Seen:
        return self.views[self.told[number]]


def looked_at(one: Told, view: ImageView) -> Decoded:
    """Return a picture with its size; UserError where it cannot be read."""
    try:
        return decode(one.path.read_bytes(), [view], Limits())
    except (OSError, MediaError) as error:
        raise UserError(f"cannot read the training picture {one.path}: {error}") from error


def numbered(told: Iterable[Told]) -> dict[Path, int]:
    """Return a number for each picture."""
    return {path: number for number, path in enumerate({one.path: None for one in told})}


def temporary(kind: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
    """Return an array of noughts in a temporary file without a name.

    The processes that are forked from this one share it, and it is gone with the last of them.
    Raises UserError where there is no room for it.
    """
    if 0 in shape:
        return np.zeros(shape, kind)
    num_bytes = math.prod(shape) * np.dtype(kind).itemsize
    with tempfile.TemporaryFile(prefix="lakesight-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # later, a full disk ends the process
        except OSError as error:
            raise UserError(
                f"cannot keep what is seen of the pictures, {num_bytes / 1e9:,.1f} GB, in "
                f"{tempfile.gettempdir()}: {error.strerror}; set TMPDIR to a folder with more "
                "room, or keep less"
            ) from error
        return np.memmap(file, kind, "r+", shape=shape)
