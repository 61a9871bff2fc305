"""The models of a server: opened when they are first asked for, and closed to make room.

What is counted is networks: the models that look at one network (`catalog.network`) share it.
"""

import asyncio
import gc
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lakesight.models import catalog
from lakesight.models.base import ModelSpec
from lakesight.models.catalog import Common
from lakesight.online.following import Follower
from lakesight.online.opened import BatchLimits, Opened

MAX_VARIANTS = 16
"""Models on one network at once: of each kind and of other options."""


def key_of(spec: ModelSpec) -> str:
    """Return what tells the network that a model looks at."""
    return catalog.network(spec) or spec.model_dump_json()


@dataclass(eq=False)
class Room:
    """One network in memory, and the models that look at it."""

    spec: ModelSpec
    """The model that it was loaded for."""
    limits: BatchLimits
    follower: Follower
    common: Common = field(default_factory=Common)
    lock: threading.Lock = field(default_factory=threading.Lock)
    models: OrderedDict[str, Opened] = field(default_factory=OrderedDict)
    """By spec, the one that was not asked for the longest first."""
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)
    _opening: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def opened(self, spec: ModelSpec) -> Opened:
        """Return the model of a spec on this network; the first one opens the network."""
        name = spec.model_dump_json()
        while name not in self.models:
            if name not in self._opening:
                self._opening[name] = asyncio.create_task(self._open_now(name, spec))
                self._opening[name].add_done_callback(_looked_at)
            await asyncio.shield(self._opening[name])  # whoever goes, it is not lost
        self.models.move_to_end(name)
        return self.models[name]

    async def _open_now(self, name: str, spec: ModelSpec) -> None:
        try:
            async with self._building:
                await self._close_the_oldest()
                self.models[name] = await asyncio.to_thread(self._open, spec)
        finally:
            del self._opening[name]

    def _open(self, spec: ModelSpec) -> Opened:
        model = catalog.build(spec, self.limits.num_threads, self.common)
        return Opened(spec, model, self.limits, self.follower, self.lock)

    async def _close_the_oldest(self) -> None:
        """Make room for one more model, where there is one that nobody uses."""
        unused = [name for name, one in self.models.items() if not one.num_users]
        if len(self.models) >= MAX_VARIANTS and unused:
            await asyncio.to_thread(self.models.pop(unused[0]).close)

    async def close(self) -> None:
        """End the threads of all models, once what is being opened is there."""
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for opened in self.models.values():
            await asyncio.to_thread(opened.close)


def _looked_at(done: asyncio.Task[None]) -> None:
    """Have nobody complain of an error that whoever asked did not wait for."""
    _ = done.cancelled() or done.exception()


class Engine:
    """Models by their spec, at most so many networks at once. It belongs to one event loop."""

    def __init__(
        self, max_loaded: int, limits: BatchLimits, follower: Follower | None = None
    ) -> None:
        self.max_loaded = max_loaded
        self.limits = limits
        self._follower = follower or Follower()
        self._rooms: OrderedDict[str, Room] = OrderedDict()
        self._users: Counter[str] = Counter()
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[str] = set()
        self._changed = asyncio.Condition()
        self._turn = asyncio.Lock()
        """Held while a network is loaded or makes room: one after the other."""

    @asynccontextmanager
    async def using(self, spec: ModelSpec, spare: int = 0) -> AsyncIterator[Opened]:
        """Yield a model, which stays open meanwhile; it is loaded where it is not.

        Hold one at a time: with room for one network, who holds another waits for ever. `spare`
        networks may be in memory beside those that there is room for. Raises UserError or
        StoreError where the model cannot be loaded.
        """
        key = key_of(spec)
        if key in self._leaving:
            async with self._changed:
                await self._changed.wait_for(lambda: key not in self._leaving)
        self._users[key] += 1
        try:
            if key not in self._rooms:
                await self._load(key, spec, spare)
            self._rooms.move_to_end(key)
            opened = await self._rooms[key].opened(spec)
            opened.num_users += 1
            try:
                yield opened
            finally:
                opened.num_users -= 1
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                if key in self._leaving:
                    await self._tell()

    def is_loaded(self, spec: ModelSpec) -> bool:
        """Return whether the network of a model is in memory."""
        return key_of(spec) in self._rooms

    def opened(self, spec: ModelSpec) -> Opened | None:
        """Return a model that is in memory, for who only wants to know about it."""
        room = self._rooms.get(key_of(spec))
        return room.models.get(spec.model_dump_json()) if room else None

    def all_opened(self) -> list[Opened]:
        """Return every model that is in memory."""
        return [opened for room in self._rooms.values() for opened in room.models.values()]

    @property
    def is_alive(self) -> bool:
        """Whether every thread of every model works."""
        return all(one.is_alive for one in self.all_opened())

    async def preload(self, specs: Iterable[ModelSpec]) -> None:
        """Load models until there is no more room for another network.

        Those that are in memory already, and may still be asked, stay: until `keep` is called.
        """
        wanted = list(specs)
        keys = list(dict.fromkeys(map(key_of, wanted)))[: self.max_loaded]
        for spec in wanted:
            if key_of(spec) in keys:
                async with self.using(spec, spare=len(self._rooms)):
                    pass

    async def keep(self, specs: Iterable[ModelSpec]) -> None:
        """Close every network that none of these models looks at, once nobody uses it."""
        kept = set(map(key_of, specs))
        async with self._turn:
            for key in [key for key in self._rooms if key not in kept]:
                await self._close(key)
            await self._make_room(self.max_loaded)

    async def close(self) -> None:
        """Close every model, once nobody uses it."""
        await self.keep([])

    async def _load(self, key: str, spec: ModelSpec, spare: int) -> None:
        """Load a network, where nobody is about to; `spare` more than there is room for."""
        if key not in self._loads:
            self._loads[key] = asyncio.create_task(self._load_now(key, spec, spare))
            self._loads[key].add_done_callback(_looked_at)
        await asyncio.shield(self._loads[key])

    async def _load_now(self, key: str, spec: ModelSpec, spare: int) -> None:
        try:
            async with self._turn:
                await self._make_room(self.max_loaded + spare - 1)
                start, room = time.monotonic(), Room(spec, self.limits, self._follower)
                await room.opened(spec)
                self._rooms[key] = room
                self._follower.on_loaded(spec, time.monotonic() - start)
        finally:
            del self._loads[key]

    async def _make_room(self, most: int) -> None:
        """Close networks until at most so many are left; those that nobody uses first."""
        while len(self._rooms) > most:
            idle = (key for key in self._rooms if not self._users[key])
            await self._close(next(idle, next(iter(self._rooms))))

    async def _close(self, key: str) -> None:
        """Close a network once nobody uses it; who asks for it meanwhile waits, and loads it."""
        self._leaving.add(key)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._users[key])
        room = self._rooms.pop(key)
        await room.close()
        self._follower.on_dropped(room.spec)
        del room
        await asyncio.to_thread(_free_memory)
        self._leaving.discard(key)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
