"""What a server has on offer at one time, and how a request's pictures pass its models."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.lake.store import StoreError
from lakesight.media.decode import Decoded, MediaError
from lakesight.media.resize import draw
from lakesight.media.view import ImageView
from lakesight.models.base import Image, Kind, ModelSpec
from lakesight.online.decoding import SHOWN, Decoder
from lakesight.online.engine import Engine, key_of
from lakesight.online.finder import Finder
from lakesight.online.offers import Served, Serving
from lakesight.online.opened import Fault, Look, Opened, Seen
from lakesight.online.problems import Problem

log = logging.getLogger(__name__)

ALL_NETWORKS = 4
"""How many times `max_in_flight` pictures all networks may hold together."""
ABLE: Mapping[Kind, str] = {
    "detect": "detect",
    "pose": "find keypoints",
    "classify": "classify",
    "embed": "embed",
    "caption": "write captions",
    "answer": "answer questions",
    "caption_crops": "describe objects",
}
"""What is said of a model of a kind."""


@dataclass(frozen=True)
class Sent:
    """A picture as it was sent, or why it could not be fetched."""

    data: bytes = b""
    error: Fault | None = None


@dataclass
class Looked:
    """What became of one picture."""

    width: int | None = None
    """Of the original in pixels, upright; so is `height`."""
    height: int | None = None
    format: str | None = None
    error: Fault | None = None
    """Of what failed first."""
    views: dict[ImageView, Image] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    """By column, in the order in which the models looked."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height, of a picture that was decoded."""
        assert self.width is not None
        assert self.height is not None
        return self.width, self.height

    def shown(self, view: ImageView = SHOWN) -> Image:
        """Return the picture itself, at most 1024 pixels a side; where that view was asked for."""
        return shown(self.views[view], *self.size_wh, view)


@dataclass(frozen=True)
class Step:
    """A model that looks at every picture of a request."""

    spec: ModelSpec
    words: Sequence[Mapping[str, Any]] = ()
    """What is said of each picture (`opened.Look`); nothing where this is empty."""
    needs: str | None = None
    """The column of objects that it looks at, of an earlier step."""

    @property
    def view(self) -> ImageView:
        """The pixels that the model wants."""
        assert self.spec.card.view is not None, "catalog.spec refuses a card without a view"
        return self.spec.card.view


class Shop:
    """Models, indexes and decoders that belong together. It is replaced as a whole."""

    def __init__(
        self,
        serving: Serving,
        models: Mapping[str, Served],
        indexes: Mapping[str, Finder],
        engine: Engine,
        decoder: Decoder,
    ) -> None:
        self.serving, self.models, self.indexes = serving, models, indexes
        self.engine, self.decoder = engine, decoder
        self.num_visitors = 0
        self._room = asyncio.Semaphore(ALL_NETWORKS * serving.max_in_flight)
        self._rooms: defaultdict[tuple[str, ...], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(serving.max_in_flight)
        )
        """By the networks that a picture passes: a slow one fills its own room first."""

    def check_amount(self, num_pictures: int) -> None:
        """Raise Problem for more pictures than a request may have."""
        most = self.serving.max_pictures
        if num_pictures > most:
            raise Problem("too-many-pictures", f"{num_pictures} pictures, of {most} at most")

    def check_pairs(self, num_pictures: int, num_texts: int) -> None:
        """Raise Problem for more pictures by texts than a request may have."""
        most = self.serving.max_pairs
        if num_pictures * num_texts > most:
            raise Problem(
                "invalid",
                f"{num_pictures} pictures by {num_texts} texts are more than {most} pairs",
            )

    @asynccontextmanager
    async def using(self, spec: ModelSpec) -> AsyncIterator[Opened]:
        """Yield a model: see `Engine.using`, of which the errors become problems."""
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(self.engine.using(spec))
            except (UserError, StoreError) as error:
                log.error("%s cannot be loaded: %s", spec.card.name, error)
                raise Problem("unavailable", f"{spec.card.name} cannot be loaded") from error
            try:
                yield opened
            except UserError as error:
                raise Problem("invalid", str(error)) from error

    async def look(
        self, pictures: Sequence[Sent], steps: Sequence[Step], views: Sequence[ImageView] = ()
    ) -> list[Looked]:
        """Return what the models make of each picture, in order; a broken one is its own error.

        `views` are drawn too, beside those that the models want.
        """
        return list(
            await asyncio.gather(
                *(self._look(one, place, steps, views) for place, one in enumerate(pictures))
            )
        )

    async def _look(
        self, sent: Sent, place: int, steps: Sequence[Step], views: Sequence[ImageView]
    ) -> Looked:
        if sent.error is not None:
            return Looked(error=sent.error)
        wanted = list(dict.fromkeys([*(step.view for step in steps), *views]))
        networks = tuple(key_of(step.spec) for step in steps)
        async with self._rooms[networks], self._room:
            looked = _looked(await self.decoder.decode(sent.data, wanted), wanted)
            for step in steps if looked.views else ():
                await self._step(looked, step, place)
        return looked

    async def see(
        self,
        spec: ModelSpec,
        view: Image,
        width: int,
        height: int,
        words: Mapping[str, Any] = MappingProxyType({}),
        found: pa.Array | None = None,
    ) -> Seen:
        """Return what a model makes of one picture: see `opened.Look`."""
        async with self.using(spec) as opened:
            return await opened.see(Look(view, width, height, words, found))

    async def _step(self, looked: Looked, step: Step, place: int) -> None:
        """Let one model look at a picture."""
        words = step.words[place] if step.words else {}
        found = looked.seen[step.needs].column if step.needs else None
        view = looked.views[step.view]
        seen = await self.see(step.spec, view, *looked.size_wh, words, found)
        looked.seen[seen.name] = seen
        looked.error = looked.error or seen.error


def _looked(decoded: Decoded | MediaError, wanted: Sequence[ImageView]) -> Looked:
    if isinstance(decoded, MediaError):
        return Looked(error=Fault("decode", decoded.type, decoded.message))
    views = dict(zip(wanted, decoded.views, strict=True))
    return Looked(decoded.width, decoded.height, decoded.format, views=views)


def shown(pixels: Image, width: int, height: int, view: ImageView = SHOWN) -> Image:
    """Return the picture without the border of its view, and no larger than the original."""
    drawn_width, drawn_height = view.drawn_size(width, height)
    place = view.place(width, height)
    left, top = place.offset_x, place.offset_y
    inside = pixels[top : top + drawn_height, left : left + drawn_width]
    if drawn_width <= width and drawn_height <= height:
        return inside
    own = ImageView(width=width, height=height, fit="squash", interpolation="area")
    out = np.empty((height, width, 3), np.uint8)
    draw(np.ascontiguousarray(inside), (drawn_width, drawn_height), own, out)
    return out
