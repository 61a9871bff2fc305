"""Encoded pictures to the views of models, in child processes: the event loop goes on meanwhile."""

import asyncio
import time
from collections.abc import Sequence

from lakesight.media.decode import Decoded, MediaError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.view import ImageView
from lakesight.online.following import Follower

SHOWN = ImageView(width=1024, height=1024, interpolation="area")
"""What boxes are drawn on."""
SMALL = ImageView(width=448, height=448, interpolation="area")
"""What a page of many pictures shows."""


class Decoder:
    """The decoding children of a server; close it."""

    def __init__(
        self,
        views: Sequence[ImageView],
        limits: Limits,
        num_processes: int,
        follower: Follower,
    ) -> None:
        self._limits, self._num_processes, self._follower = limits, num_processes, follower
        self._pool = DecodePool(tuple(dict.fromkeys([*views, SHOWN, SMALL])), limits, num_processes)

    def fits(self, views: Sequence[ImageView], limits: Limits, num_processes: int) -> bool:
        """Return whether another one, made of these, could do no more."""
        same = (limits, num_processes) == (self._limits, self._num_processes)
        return same and set(views) <= set(self._pool.views)

    async def decode(self, data: bytes, views: Sequence[ImageView]) -> Decoded | MediaError:
        """Return the views of one picture, drawn by a child, or why there are none."""
        start = time.monotonic()
        found = await asyncio.wrap_future(self._pool.submit(data, views))
        error = found.type if isinstance(found, MediaError) else None
        self._follower.on_decoded(time.monotonic() - start, error)
        return found

    def close(self) -> None:
        """End the children."""
        self._pool.close()
