"""Pictures as a model sees them: drawn at every look, or kept after the first."""

import tempfile
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.media.decode import Decoded, MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView
from lakesight.models.base import Image
from lakesight.training.blip2.texts import Told


class Seen(NamedTuple):
    """A picture as a model sees it."""

    pixels: Image
    width: int
    """Of the picture itself, in pixels, upright; so is `height`."""
    height: int


class Kept:
    """Views in a temporary file without a name.

    It is shared with the processes that are forked from this one, and gone with the last of them.
    """

    def __init__(self, told: Iterable[Told], view: ImageView) -> None:
        self.numbers = {path: number for number, path in enumerate({one.path: 0 for one in told})}
        count = len(self.numbers)
        self.pixels = _shared(np.uint8, (count, view.height, view.width, 3))
        self.sizes_wh = _shared(np.int32, (count, 2))
        """0 x 0 where nothing is kept yet."""

    def get(self, one: Told) -> Seen | None:
        """Return what is kept of a picture."""
        number = self.numbers[one.path]
        width, height = self.sizes_wh[number].tolist()
        return Seen(self.pixels[number], width, height) if width else None

    def put(self, one: Told, seen: Seen) -> None:
        """Keep a picture; its size, which says that it is there, last."""
        number = self.numbers[one.path]
        self.pixels[number] = seen.pixels
        self.sizes_wh[number] = seen.width, seen.height


class Views:
    """The pictures of a training, by what is told of them.

    With `keep`, every picture is read and drawn once, and `height x width x 3` bytes of it kept.
    """

    def __init__(self, told: Iterable[Told], view: ImageView, *, keep: bool = False) -> None:
        self.view = view
        self.kept = Kept(told, view) if keep else None

    def __getitem__(self, one: Told) -> Seen:
        """Return a picture; UserError where it cannot be read."""
        if self.kept and (known := self.kept.get(one)):
            return known
        decoded = looked_at(one, self.view)
        seen = Seen(decoded.views[0], decoded.width, decoded.height)
        if self.kept:
            self.kept.put(one, seen)
        return seen


def looked_at(one: Told, view: ImageView) -> Decoded:
    """Return a picture with its size; UserError where it cannot be read."""
    try:
        return decode(one.path.read_bytes(), [view], Limits())
    except (OSError, MediaError) as error:
        raise UserError(f"cannot read the training picture {one.path}: {error}") from error


def _shared(kind: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    with tempfile.TemporaryFile(prefix="lakesight-views-") as file:
        return np.memmap(file, kind, "w+", shape=shape)
