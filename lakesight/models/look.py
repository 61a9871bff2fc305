"""Pictures of any size to what a model says of them: for a notebook, one call."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.lake.uris import is_s3, local_path
from lakesight.media.colour import to_rgb
from lakesight.media.decode import MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.orientation import read_orientation, turn_upright
from lakesight.media.resize import draw
from lakesight.media.view import ImageView
from lakesight.models.base import Image as View
from lakesight.runtimes.base import usable_cpus

Picture = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""A file or its uri, an encoded file's bytes, a Pillow image, or `(height, width, 3)` uint8 RGB of
any size."""

Given = TypeVar("Given", bound=Picture)

BATCH = 16
AHEAD = 2
"""Batches that are drawn while a model looks at one."""


class Looking(Protocol):
    """What looking at pictures needs of a model: see `base.Model`."""

    view: ImageView
    output: pa.Field

    def predict(self, views: Sequence[View], rows: pa.Table) -> pa.Array:
        """Return one value of type `output.type` per view."""
        ...


class Drawn(NamedTuple):
    """A picture as a model sees it."""

    pixels: View
    width: int
    """Of the original in pixels, upright; so is `height`."""
    height: int


def look(model: Looking, pictures: Sequence[Picture], **columns: pa.Array) -> pa.Array:
    """Return one value of type `model.output.type` per picture, all of them looked at at once.

    `columns` are what earlier models gave: `look(pose, pictures, detections=found)`. Raises
    UserError for a picture that cannot be read.
    """
    _check_lengths(len(pictures), columns)
    return predict(model, [draw_view(picture, model.view) for picture in pictures], columns)


def look_ahead(
    model: Looking, pictures: Sequence[Picture], batch_size: int = BATCH, **columns: pa.Array
) -> Iterator[tuple[pa.Array, list[tuple[int, int]]]]:
    """Yield values, and widths and heights of the originals, batch by batch.

    The next pictures are drawn meanwhile, in threads; one that is there several times within them
    is drawn once, since no two threads may load one Pillow image. `columns` as of `look`. Raises
    UserError for a picture that cannot be read.
    """
    _check_lengths(len(pictures), columns)
    parts = [pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    waiting: deque[list[Future[Drawn]]] = deque()
    begun = WeakValueDictionary[int, Future[Drawn]]()  # by the picture's id, while it waits
    done = 0
    pool = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="draw")

    def submit(picture: Picture) -> Future[Drawn]:
        future = begun.get(id(picture)) or pool.submit(draw_view, picture, model.view)
        begun[id(picture)] = future
        return future

    try:
        for part in [*parts, *[None] * AHEAD]:
            if part is not None:
                waiting.append([submit(picture) for picture in part])
            if waiting and (part is None or len(waiting) > AHEAD):
                drawn = [future.result() for future in waiting.popleft()]
                known = {name: one.slice(done, len(drawn)) for name, one in columns.items()}
                yield predict(model, drawn, known), [(one.width, one.height) for one in drawn]
                done += len(drawn)
    finally:
        pool.shutdown(cancel_futures=True)


def _check_lengths(count: int, columns: Mapping[str, pa.Array]) -> None:
    for name, column in columns.items():
        if len(column) != count:
            raise UserError(
                f"{name} has {len(column)} values, but there are {count} pictures: give one for "
                "each, null where there is none"
            )


def predict(model: Looking, drawn: Sequence[Drawn], columns: dict[str, pa.Array]) -> pa.Array:
    """Return one value per drawn picture; `columns` as of `look`."""
    sizes = {
        "width": pa.array([one.width for one in drawn], pa.int32()),
        "height": pa.array([one.height for one in drawn], pa.int32()),
    }
    return model.predict([one.pixels for one in drawn], pa.table({**sizes, **columns}))


def draw_view(picture: Picture, view: ImageView) -> Drawn:
    """Return a picture as the view wants it; UserError where it cannot be read."""
    try:
        if isinstance(picture, str | Path | bytes):
            decoded = decode(_bytes(picture), [view], Limits())
            return Drawn(decoded.views[0], decoded.width, decoded.height)
        pixels = _upright(picture) if isinstance(picture, Image.Image) else _checked(picture)
    except (OSError, MediaError) as error:
        name = name_of(picture) or f"of type {type(picture).__name__}"
        raise UserError(f"cannot read the picture {name}: {error}") from error
    height, width = pixels.shape[:2]
    drawn = np.empty((view.height, view.width, 3), np.uint8)
    draw(pixels, (width, height), view, drawn)
    return Drawn(drawn, width, height)


def distinct(pictures: Sequence[Given]) -> tuple[list[Given], list[int]]:
    """Return every picture once, and of each given one its place there.

    The same file, bytes or object is the same picture; two arrays of equal pixels are two.
    """
    places: dict[object, int] = {}
    found: list[Given] = []
    numbers = []
    for one in pictures:
        key = one if isinstance(one, str | Path | bytes) else id(one)
        if key not in places:
            places[key] = len(found)
            found.append(one)
        numbers.append(places[key])
    return found, numbers


def name_of(picture: Picture) -> str | None:
    """Return the path or uri of a picture; None of what lies in memory."""
    if isinstance(picture, Image.Image):
        return getattr(picture, "filename", None) or None
    return str(picture) if isinstance(picture, str | Path) else None


def _bytes(picture: str | Path | bytes) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if is_s3(str(picture)):
        store, key = Store.open(str(picture))
        return store.get(key)
    return local_path(str(picture)).read_bytes()


def _checked(picture: View) -> View:
    if not isinstance(picture, np.ndarray):
        raise UserError(
            "a picture must be a path or uri, bytes, a Pillow image or an array, but got "
            f"{type(picture).__name__}"
        )
    if (
        picture.dtype != np.uint8
        or picture.ndim != 3
        or picture.shape[2] != 3
        or 0 in picture.shape
    ):
        raise UserError(
            "an array must be (height, width, 3) uint8 in the order red, green, blue, but got "
            f"{picture.shape} {picture.dtype}"
        )
    return picture


def _upright(picture: Image.Image) -> View:
    try:
        return turn_upright(to_rgb(picture), read_orientation(picture))
    except Exception as error:  # it may be read only now, and Pillow raises nearly every type
        raise MediaError("undecodable", f"{type(error).__name__}: {error}") from error
