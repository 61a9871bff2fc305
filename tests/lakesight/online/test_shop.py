"""How many pictures are looked at at once, and who waits for whom."""

import asyncio
import io
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from lakesight.media.limits import Limits
from lakesight.models import catalog
from lakesight.online.decoding import Decoder
from lakesight.online.engine import Engine
from lakesight.online.following import Follower
from lakesight.online.offers import Serving
from lakesight.online.opened import BatchLimits, Look, Opened, Seen
from lakesight.online.shop import Sent, Shop, Step

DETECT, CLASSIFY = catalog.spec("starter-yolo-detect"), catalog.spec("starter-yolo-classify")


def test_a_slow_network_keeps_the_pictures_of_another_not_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One picture at a time, and no more of the slow one's: they stay the bytes that they are."""
    file = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), 200, np.uint8)).save(file, "PNG")
    picture, see, held = Sent(file.getvalue()), Opened.see, asyncio.Event()

    async def slow(self: Opened, look: Look) -> Seen:
        if self.spec == DETECT:
            await held.wait()
        return await see(self, look)

    monkeypatch.setattr(Opened, "see", slow)
    decoded: list[str | None] = []

    class Notes(Follower):
        def on_decoded(self, seconds: float, error: str | None) -> None:
            decoded.append(error)

    async def run() -> None:
        engine = Engine(2, BatchLimits(max_batch=4, max_wait_s=0.0, num_threads=1))
        views = [Step(spec).view for spec in (DETECT, CLASSIFY)]
        decoder = Decoder(views, Limits(), 1, Notes())
        shop = Shop(Serving(max_in_flight=1), {}, {}, engine, decoder)
        waiting = asyncio.create_task(shop.look([picture] * 3, [Step(DETECT)]))
        try:
            async with asyncio.timeout(60):
                while not decoded and not waiting.done():
                    await asyncio.sleep(0.01)
                (looked,) = await shop.look([picture], [Step(CLASSIFY)])
            assert looked.seen
            assert decoded == [None, None]  # one of each
            held.set()
            assert [one.seen.keys() for one in await waiting] == [{"detections"}] * 3
        finally:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            await engine.close()
            decoder.close()

    asyncio.run(run())
