"""Batches fill while the work before them runs, and whoever asks gets his own answer."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from lakesight.online.batching import Batcher, Left


class Work:
    """Doubles numbers; can be held, and notes what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.num_working = 0
        self.most_at_once = 0

    def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        self.num_working += 1
        self.most_at_once = max(self.most_at_once, self.num_working)
        self.go.wait(30)
        self.num_working -= 1
        if 13 in items and len(items) > 1:
            raise OSError("all of them")
        return [ValueError(item) if item == 13 else 2 * item for item in items]


@contextmanager
def open_batcher(work: Work, **options: Any) -> Iterator[Batcher[int, int]]:
    batcher = Batcher(work, **{"max_batch": 4, **options})
    try:
        yield batcher
    finally:
        work.go.set()
        batcher.close()


async def asked_in_turn(
    batcher: Batcher[int, int], work: Work, items: Sequence[int]
) -> "list[asyncio.Task[int]]":
    """Ask for the first, and once it is worked on for the others."""
    before = len(work.batches)
    tasks = [asyncio.create_task(batcher.ask(items[0]))]
    await until(lambda: len(work.batches) > before)
    tasks += [asyncio.create_task(batcher.ask(item)) for item in items[1:]]
    await asyncio.sleep(0)
    return tasks


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_alone_it_leaves_at_once() -> None:
    async def run() -> None:
        work = Work()
        with open_batcher(work, max_wait_s=60) as batcher:
            assert await batcher.ask(1) == 2
            assert await batcher.ask(2) == 4
        assert work.batches == [[1], [2]]

    asyncio.run(run())


def test_what_comes_meanwhile_leaves_together() -> None:
    async def run() -> None:
        work = Work()
        work.go.clear()
        with open_batcher(work, max_wait_s=60) as batcher:
            asked = await asked_in_turn(batcher, work, range(10))
            await until(lambda: batcher.num_waiting == 9)
            work.go.set()
            assert await asyncio.gather(*asked) == [2 * item for item in range(10)]
        assert work.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]

    asyncio.run(run())


def test_a_second_thread_takes_what_is_full() -> None:
    async def run() -> None:
        work = Work()
        work.go.clear()
        with open_batcher(work, max_wait_s=60, num_threads=2) as batcher:
            asked = await asked_in_turn(batcher, work, range(4))
            await until(lambda: batcher.num_waiting == 3)
            await asyncio.sleep(0.05)
            assert work.batches == [[0]], "three are no full batch, and may wait a minute"
            asked.append(asyncio.create_task(batcher.ask(4)))
            await until(lambda: not batcher.num_waiting)
            work.go.set()
            await asyncio.gather(*asked)
        assert work.batches == [[0], [1, 2, 3, 4]]
        assert work.most_at_once == 2

    asyncio.run(run())


def test_a_second_thread_takes_what_has_waited() -> None:
    async def run() -> None:
        work = Work()
        work.go.clear()
        with open_batcher(work, max_wait_s=0.01, num_threads=2) as batcher:
            asked = await asked_in_turn(batcher, work, range(2))
            await until(lambda: len(work.batches) == 2)
            work.go.set()
            await asyncio.gather(*asked)
        assert work.batches == [[0], [1]]

    asyncio.run(run())


def test_an_error_is_of_who_asked() -> None:
    async def run() -> None:
        work = Work()
        with open_batcher(work) as batcher:
            with pytest.raises(ValueError, match="13"):
                await batcher.ask(13)
            work.go.clear()
            asked = await asked_in_turn(batcher, work, (0, 13, 1))
            await until(lambda: batcher.num_waiting == 2)
            work.go.set()
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert outcomes[0] == 0
        assert [type(one) for one in outcomes[1:]] == [OSError, OSError]

    asyncio.run(run())


def test_who_went_away_costs_nothing() -> None:
    async def run() -> None:
        work = Work()
        work.go.clear()
        with open_batcher(work) as batcher:
            asked = await asked_in_turn(batcher, work, range(4))
            await until(lambda: batcher.num_waiting == 3)
            asked[1].cancel()
            asked[3].cancel()
            await until(lambda: asked[3].cancelled())
            work.go.set()
            assert await asked[2] == 4
        assert work.batches == [[0], [2]]

    asyncio.run(run())


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    async def run() -> None:
        work = Work()
        work.go.clear()
        batcher = Batcher(work, max_batch=4)
        asked = await asked_in_turn(batcher, work, range(3))
        await until(lambda: batcher.num_waiting == 2)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await until(lambda: batcher._closed)
        with pytest.raises(RuntimeError, match="closed"):
            await batcher.ask(1)
        work.go.set()
        assert await asyncio.gather(*asked) == [0, 2, 4]
        await closing
        assert not batcher.is_alive

    asyncio.run(run())


def test_each_batch_is_told_of() -> None:
    async def run() -> None:
        work = Work()
        work.go.clear()
        told: list[tuple[Left, Sequence[int | Exception]]] = []
        with open_batcher(work, left=lambda *one: told.append(one)) as batcher:
            asked = await asked_in_turn(batcher, work, range(6))
            await until(lambda: batcher.num_waiting == 5)
            work.go.set()
            await asyncio.gather(*asked)
        assert [(left.size, list(outcomes)) for left, outcomes in told] == [
            (1, [0]),
            (4, [2, 4, 6, 8]),
            (1, [10]),
        ]
        waits_s = told[1][0].waits_s
        assert min(waits_s) > 0
        assert sorted(waits_s, reverse=True) == list(waits_s)

    asyncio.run(run())
