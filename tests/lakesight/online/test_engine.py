"""Networks share a process: loaded once, closed to make room, and never under who uses them."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import ModelSpec
from lakesight.online import engine as engines
from lakesight.online.engine import Engine
from lakesight.online.following import Follower
from lakesight.online.offers import varied
from lakesight.online.opened import BatchLimits, Look

LIMITS = BatchLimits(max_batch=4, max_wait_s=0.0, num_threads=1)
TASKS = ("detect", "classify", "pose")


class Notes(Follower):
    """Writes down what is loaded and dropped."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_loaded(self, spec: ModelSpec, seconds: float) -> None:
        self.lines.append(f"+{spec.card.name}")

    def on_dropped(self, spec: ModelSpec) -> None:
        self.lines.append(f"-{spec.card.name}")


def starter(task: str) -> ModelSpec:
    return catalog.spec(f"starter-yolo-{task}")


DETECT, CLASSIFY, POSE = map(starter, TASKS)


def look(spec: ModelSpec) -> Look:
    assert spec.card.view is not None
    shape = (spec.card.view.height, spec.card.view.width, 3)
    return Look(np.full(shape, 200, np.uint8), 64, 48)


@contextmanager
def noted(max_loaded: int) -> Iterator[tuple[Engine, list[str]]]:
    notes = Notes()
    yield Engine(max_loaded, LIMITS, notes), notes.lines


async def seen(engine: Engine, spec: ModelSpec) -> Any:
    async with engine.using(spec) as opened:
        return (await opened.see(look(spec))).value


def test_a_network_is_loaded_once_however_many_ask() -> None:
    async def run() -> None:
        with noted(2) as (engine, lines):
            found = await asyncio.gather(*(seen(engine, DETECT) for _ in range(8)))
            assert found == [found[0]] * 8
            assert lines == ["+starter-yolo-detect"]
            assert engine.is_alive
            await engine.close()

    asyncio.run(run())


def test_the_one_that_was_not_asked_the_longest_makes_room() -> None:
    async def run() -> None:
        with noted(2) as (engine, lines):
            for spec in (DETECT, CLASSIFY, DETECT, POSE, DETECT):
                await seen(engine, spec)
            assert lines == [
                "+starter-yolo-detect",
                "+starter-yolo-classify",
                "-starter-yolo-classify",
                "+starter-yolo-pose",
            ]
            assert engine.is_loaded(DETECT)
            assert not engine.is_loaded(CLASSIFY)
            await engine.close()
            assert lines[-2:] == ["-starter-yolo-pose", "-starter-yolo-detect"]

    asyncio.run(run())


def test_who_uses_a_model_keeps_it() -> None:
    async def run() -> None:
        with noted(1) as (engine, lines):
            async with engine.using(DETECT) as opened:
                other = asyncio.create_task(seen(engine, CLASSIFY))
                await asyncio.sleep(0.2)
                assert not other.done()
                again = asyncio.create_task(seen(engine, DETECT))  # it comes after, not for ever
                await asyncio.sleep(0.05)
                first = (await opened.see(look(DETECT))).value
            assert await again == first
            await other
            assert lines == [
                "+starter-yolo-detect",
                "-starter-yolo-detect",
                "+starter-yolo-classify",
                "-starter-yolo-classify",
                "+starter-yolo-detect",
            ]
            await engine.close()

    asyncio.run(run())


def test_with_room_for_one_all_are_answered() -> None:
    async def run() -> None:
        with noted(1) as (engine, lines):
            specs = [DETECT, CLASSIFY, POSE] * 4
            async with asyncio.timeout(120):
                found = await asyncio.gather(*(seen(engine, spec) for spec in specs))
            assert all(found[place] == found[place % 3] for place in range(12))
            assert lines.count("+starter-yolo-pose") <= 4
            await engine.close()

    asyncio.run(run())


def test_what_is_opened_for_who_went_away_is_closed_all_the_same() -> None:
    async def run() -> None:
        engine = Engine(1, LIMITS)
        classify = catalog.spec("efficientnet-lite3", "classify")
        await seen(engine, classify)
        going = asyncio.create_task(seen(engine, varied(classify, {"top_k": 3})))
        for _ in range(5):  # it is asked for, and nobody has had the time to open it
            await asyncio.sleep(0)
        assert len(engine.all_opened()) == 1
        going.cancel()
        async with asyncio.timeout(60):
            while len(engine.all_opened()) < 2:
                await asyncio.sleep(0.01)
        assert going.cancelled()
        await engine.close()
        assert engine.all_opened() == []

    def threads() -> int:
        return sum("efficientnet-lite3" in one.name for one in threading.enumerate())

    before = threads()  # of servers of other tests
    asyncio.run(run())
    assert threads() == before


def test_models_of_one_network_share_it() -> None:
    async def run() -> None:
        classify = catalog.spec("efficientnet-lite3", "classify")
        embed = catalog.spec("efficientnet-lite3", "embed")
        engine = Engine(1, LIMITS)
        async with engine.using(classify) as one:
            network = one.model.network  # type: ignore[attr-defined]  # a classifier's
        async with engine.using(embed) as other:
            assert other.model.network is network  # type: ignore[attr-defined]
        async with engine.using(varied(classify, {"top_k": 2})) as third:
            assert third.model.network is network  # type: ignore[attr-defined]
            assert len((await third.see(look(classify))).value) == 2
        await engine.close()

    asyncio.run(run())


def test_the_files_of_a_network_that_is_open_are_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Options come with requests: of 15 GB, hashing them for each would be a way to stop a server.

    It is one network for who counts them, too.
    """

    async def run() -> None:
        classify = catalog.spec("efficientnet-lite3", "classify")
        with noted(1) as (engine, lines):
            await seen(engine, classify)
            monkeypatch.setattr(catalog, "stage", lambda card: pytest.fail("read again"))
            assert len(list(await seen(engine, varied(classify, {"top_k": 2})))) == 2
            await engine.close()
            assert lines == ["+efficientnet-lite3", "-efficientnet-lite3"]

    asyncio.run(run())


def test_models_of_other_options_are_closed_when_they_are_many() -> None:
    async def run() -> None:
        spec = catalog.spec("efficientnet-lite3", "classify")
        engine = Engine(1, LIMITS)
        async with engine.using(spec) as first:
            for top_k in range(1, engines.MAX_VARIANTS + 3):
                if top_k != spec.options["top_k"]:
                    async with engine.using(varied(spec, {"top_k": top_k})) as opened:
                        assert len((await opened.see(look(spec))).value) == top_k
            (room,) = engine._rooms.values()
            assert len(room.models) == engines.MAX_VARIANTS
            assert first.is_alive, "who uses a model keeps it"
        await engine.close()
        assert not first.is_alive

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_is_an_error_each_time(tmp_path: Path) -> None:
    import lakesight.starter

    source = Path(lakesight.starter.__file__).parent / "yolo-detect"
    folder = shutil.copytree(source, tmp_path / "model")
    spec = catalog.spec(str(folder))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])

    async def run() -> None:
        with noted(1) as (engine, lines):
            for _ in range(2):
                with pytest.raises(UserError, match="sha256"):
                    await seen(engine, spec)
            assert lines == []
            (folder / "model.safetensors").write_bytes(whole)
            assert await seen(engine, spec) == await seen(engine, DETECT)
            await engine.close()

    asyncio.run(run())


def test_preloading_stops_when_there_is_no_room_and_closes_nothing() -> None:
    async def run() -> None:
        with noted(2) as (engine, lines):
            await engine.preload([DETECT, CLASSIFY, POSE])
            assert lines == ["+starter-yolo-detect", "+starter-yolo-classify"]
            await engine.preload([POSE, DETECT])
            assert lines[2:] == ["+starter-yolo-pose"], "the old ones may still be asked"
            await engine.keep([POSE, DETECT])
            assert lines[3:] == ["-starter-yolo-classify"]
            await engine.close()

    asyncio.run(run())
