"""What a process serves: a shop that is replaced, as a whole, while requests are answered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fastapi import Request
from prometheus_client import Metric

from lakesight.errors import UserError
from lakesight.lake.store import StoreError
from lakesight.models.base import ModelSpec
from lakesight.online.decoding import Decoder
from lakesight.online.engine import Engine
from lakesight.online.finder import Finder, OpenIndex, no_index
from lakesight.online.following import Followers
from lakesight.online.metrics import Metrics
from lakesight.online.offers import Served, Serving, look_up
from lakesight.online.opened import BatchLimits
from lakesight.online.problems import Problem
from lakesight.online.shop import Shop
from lakesight.runtimes.base import usable_cpus

if TYPE_CHECKING:
    from lakesight.online.spans import Spans

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Source = Callable[[], Serving]
"""Says what is to be served; it is asked again and again."""
SEARCHES = 4
"""At once, in threads; others wait."""


class Service:
    """Models, indexes and decoders of one process. It belongs to one event loop.

    Start it with `configure`, which may be called again: what is asked before that is done is
    answered by what was there, what is asked after by what is there then, and nothing is refused.
    """

    def __init__(self, open_index: OpenIndex = no_index, spans: "Spans | None" = None) -> None:
        self._open_index = open_index
        self.metrics, self.spans = Metrics(), spans
        self.follower = Followers(self.metrics, spans) if spans else self.metrics
        """Is told of all that is done."""
        self._shop: Shop | None = None
        self._told: Source | None = None
        self._changing = asyncio.Lock()
        self._left = asyncio.Condition()
        self._retiring: asyncio.Task[None] | None = None
        """Of the shop before this one, after all that were before that."""
        self._searches = ThreadPoolExecutor(SEARCHES, thread_name_prefix="search")

    def check_amount(self, num_pictures: int) -> None:
        """Raise Problem for more pictures than a request may have now."""
        if self._shop:
            self._shop.check_amount(num_pictures)

    @property
    def is_ready(self) -> bool:
        """Whether requests can be answered."""
        return self._shop is not None

    @property
    def is_alive(self) -> bool:
        """Whether every thread that answers works."""
        return self._shop is None or self._shop.engine.is_alive

    @property
    def refresh_s(self) -> float:
        """How often to `refresh`; 0 for never, or not yet."""
        return self._shop.serving.refresh_s if self._shop else 0.0

    def counted(self) -> list[Metric]:
        """Return the metrics of this process, as they are now."""
        return self.metrics.families(self._shop)

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Shop]:
        """Yield what is served now; it stays open meanwhile.

        Raises Problem before the first `configure` is done, and after `close`.
        """
        shop = self._shop
        if shop is None:
            raise Problem("unavailable", "no model is loaded", headers={"Retry-After": "2"})
        shop.num_visitors += 1
        try:
            yield shop
        finally:
            shop.num_visitors -= 1
            if not shop.num_visitors and shop is not self._shop:
                async with self._left:
                    self._left.notify_all()

    async def find(self, function: Callable[[], Result]) -> Result:
        """Return what a function that asks an index gives, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._searches, function)

    async def configure(self, source: Source) -> None:
        """Serve what the source says from now on; it is loaded before anything is replaced.

        Raises UserError or StoreError for what cannot be served: then everything stays as it was.
        """
        async with self._changing:
            await self._change(*await asyncio.to_thread(_looked_up, source))
            self._told = source

    async def refresh(self) -> None:
        """Look whether the source says something else, or a model or an index was published anew.

        What cannot be served stays as it was, and is logged.
        """
        async with self._changing:
            if self._shop is None or self._told is None:
                return
            try:
                serving, models = await asyncio.to_thread(_looked_up, self._told)
                indexes = self._shop.indexes.values()
                current = [await self.find(one.is_current) for one in indexes]
                known = (self._shop.serving, self._shop.models)
                if (serving, models) != known or not all(current):
                    await self._change(serving, models)
            except (UserError, StoreError) as error:
                log.warning("what is served stays as it was: %s", error)

    async def close(self) -> None:
        """Close everything, once nobody is answered any more."""
        async with self._changing:
            shop, self._shop = self._shop, None
            if shop is not None:
                await self._retire(shop, None, self._retiring)
            await asyncio.to_thread(self._searches.shutdown)
            if self.spans is not None:
                await asyncio.to_thread(self.spans.close)

    async def _change(self, serving: Serving, models: Mapping[str, Served]) -> None:
        before = self._shop
        indexes = await self._indexes(serving)
        specs = _specs(models, indexes)
        limits = BatchLimits(serving.max_batch, serving.max_wait_ms / 1000, serving.num_threads)
        if before and before.engine.limits == limits:
            engine = before.engine
            engine.max_loaded = serving.max_loaded
        else:
            engine = Engine(serving.max_loaded, limits, self.follower)
        self.metrics.name(models)
        await engine.preload(specs)
        self._shop = Shop(serving, models, indexes, engine, self._decoder(serving, specs))
        if before is not None:
            retiring = self._retire(before, self._shop, self._retiring)
            self._retiring = asyncio.create_task(retiring)

    def _decoder(self, serving: Serving, specs: list[ModelSpec]) -> Decoder:
        """Return the decoder that is there where it can do what is wanted, else a new one."""
        views = [spec.card.view for spec in specs if spec.card.view is not None]
        num_processes = serving.num_decoders or serving.num_threads or usable_cpus()
        known = self._shop.decoder if self._shop else None
        if known and known.fits(views, serving.limits, num_processes):
            return known
        return Decoder(views, serving.limits, num_processes, self.follower)

    async def _indexes(self, serving: Serving) -> dict[str, Finder]:
        """Return the indexes of the settings; one that is open already, and current, stays."""
        known = self._shop.indexes if self._shop else {}
        opened: dict[str, Finder] = {}
        for name, uri in serving.indexes.items():
            one = known.get(name)
            if one is not None and one.uri == uri and await self.find(one.is_current):
                opened[name] = one
            else:
                opened[name] = await self.find(partial(self._open_index, uri))
                await asyncio.to_thread(_ready_to_rerank, opened[name])
        return opened

    async def _retire(
        self, shop: Shop, after: Shop | None, earlier: asyncio.Task[None] | None
    ) -> None:
        """Close what a shop does not share with the next, once no visitor of it is left.

        Those that were before it come first: their visitors may use what it shares with them.
        """
        if earlier is not None:
            await earlier
        async with self._left:
            await self._left.wait_for(lambda: not shop.num_visitors)
        if after is None or after.decoder is not shop.decoder:
            await asyncio.to_thread(shop.decoder.close)
        if after is not None and after.engine is shop.engine:
            now = self._shop or after
            await shop.engine.keep(_specs(now.models, now.indexes))
        else:
            await shop.engine.close()


def service_of(request: Request) -> Service:
    """Return what answers a request."""
    service: Service = request.app.state.service
    return service


def _ready_to_rerank(finder: Finder) -> None:
    """Fetch and check what matching starts from: else the first rerank would, and hold the model.

    Where that fails, the index is searched all the same, and a rerank says why it is none.
    """
    if not finder.can_rerank:
        return
    try:
        finder.open_features()
    except (UserError, StoreError) as error:
        log.error("%s cannot be reranked: %s", finder.uri, error)


def _looked_up(source: Source) -> tuple[Serving, dict[str, Served]]:
    serving = source()
    return serving, {offer.name: look_up(offer) for offer in serving.models}


def _specs(models: Mapping[str, Served], indexes: Mapping[str, Finder]) -> list[ModelSpec]:
    """Return every model that may be asked, in the order of the settings."""
    own = [spec for served in models.values() for spec in served.specs.values()]
    return own + [one.model for one in indexes.values() if one.model is not None]
