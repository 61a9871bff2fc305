"""What many ask at once, joined into few calls: batches that fill while the work before them runs.

Nothing waits where nobody works: the first item leaves at once, alone. While it is worked on,
others gather, and leave together: so batches grow with the load, and an idle server answers at
once.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


class Left(NamedTuple):
    """What is told of a batch that was worked on."""

    waits_s: tuple[float, ...]
    """How long each item waited."""
    worked_s: float
    contexts: tuple[Context, ...]
    """Of those who asked, item by item: what was set there when they did."""

    @property
    def size(self) -> int:
        """How many items it had."""
        return len(self.waits_s)


class _Asked(NamedTuple, Generic[Item, Value]):
    item: Item
    future: "asyncio.Future[Value]"
    since: float
    context: Context


class Batcher(Generic[Item, Value]):
    """Threads that take what has gathered, and work on it in one call.

    Args:
        work: returns a value, or the exception to raise, for each of the items; it may raise one
            for all of them.
        max_batch: items in a call at most.
        max_wait_s: how long an item waits while another thread works, before it leaves in a batch
            that is not full.
        num_threads: calls that may run at once.
        left: told of every batch and what came of it, in its thread.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Value | Exception]],
        *,
        max_batch: int,
        max_wait_s: float = 0.0,
        num_threads: int = 1,
        name: str = "batch",
        left: Callable[[Left, Sequence[Value | Exception]], None] = lambda *_: None,
    ) -> None:
        self._work, self._left = work, left
        self._max_batch, self._max_wait_s = max_batch, max_wait_s
        self._waiting: deque[_Asked[Item, Value]] = deque()
        self._changed = threading.Condition()
        self._num_working = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=name, daemon=True) for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        """Items that no thread has taken yet."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether every thread still works."""
        return all(thread.is_alive() for thread in self._threads)

    async def ask(self, item: Item) -> Value:
        """Return what the work gives for the item, or raise its exception.

        Who is cancelled before the item's turn costs nothing.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Value] = loop.create_future()
        with self._changed:
            if self._closed:
                raise RuntimeError("this batcher is closed")
            self._waiting.append(_Asked(item, future, time.monotonic(), copy_context()))
            self._changed.notify()
        return await future

    def close(self) -> None:
        """End the threads, once what waits is worked on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while batch := self._next():
            start = time.monotonic()
            outcomes = self._outcomes([one.item for one in batch])
            worked_s = time.monotonic() - start
            with self._changed:
                self._num_working -= 1
                self._changed.notify_all()
            _deliver(batch, outcomes)
            waits_s = tuple(start - one.since for one in batch)
            told = Left(waits_s, worked_s, tuple(one.context for one in batch))
            self._left(told, outcomes)

    def _next(self) -> "list[_Asked[Item, Value]]":
        """Return what leaves next; nothing when all is done and the batcher closed."""
        with self._changed:
            while self._waiting or not self._closed:
                rest_s = self._rest_s()
                if rest_s is None or rest_s > 0:
                    self._changed.wait(rest_s)
                elif batch := self._taken():
                    self._num_working += 1
                    return batch
            return []

    def _taken(self) -> "list[_Asked[Item, Value]]":
        """Take a batch of what waits, without those that nobody waits for any more."""
        batch: list[_Asked[Item, Value]] = []
        while self._waiting and len(batch) < self._max_batch:
            one = self._waiting.popleft()
            if not one.future.cancelled():
                batch.append(one)
        return batch

    def _rest_s(self) -> float | None:
        """Return how long to wait until a batch leaves; None until something changes."""
        if not self._waiting:
            return None
        if self._closed or not self._num_working or len(self._waiting) >= self._max_batch:
            return 0.0
        return self._waiting[0].since + self._max_wait_s - time.monotonic()

    def _outcomes(self, items: list[Item]) -> Sequence[Value | Exception]:
        try:
            outcomes = self._work(items)
        except Exception as error:  # theirs, who asked
            return [error] * len(items)
        assert len(outcomes) == len(items), f"{len(outcomes)} outcomes of {len(items)} items"
        return outcomes


def _deliver(batch: Sequence[_Asked[Any, Any]], outcomes: Sequence[Any]) -> None:
    """Hand the outcomes to those who asked: one wake-up a batch of an event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for one, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(one.future.get_loop(), []).append((one.future, outcome))
    for loop, pairs in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
