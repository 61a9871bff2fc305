"""Children that hang, die and run out of memory cost one picture each, and nothing leaks."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from lakesight.media.decode import Decoded, MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.view import ImageView

Encode = Callable[..., bytes]

VIEWS = [ImageView(width=64, height=48), ImageView(width=32, height=32, fit="crop")]
STARTING_S = 60.0
OTHERS: set[int] = set()
"""Children of a server that other tests in this process use."""


def children(pid: int | None = None) -> list[psutil.Process]:
    """Return the decoding children of a process, oldest first."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "lakesight.media.child" in child.cmdline() and child.pid not in OTHERS:
                found.append(child)
    return found


@pytest.fixture(scope="module", autouse=True)
def others() -> None:
    OTHERS.update(child.pid for child in children())


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + STARTING_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def pictures(encode: Encode) -> list[bytes]:
    return [encode(Image.new("RGB", (20 + i, 30), (i, 9, 9)), "png") for i in range(40)]


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    with DecodePool(VIEWS, Limits(max_seconds=2.0), num_processes=1) as pool:
        yield pool
    assert children() == []


def assert_good(result: Decoded | MediaError, data: bytes) -> None:
    assert isinstance(result, Decoded)
    expected = decode(data, VIEWS, Limits())
    assert (result.width, result.height) == (expected.width, expected.height)
    for seen, view in zip(result.views, expected.views, strict=True):
        assert (seen == view).all()
        assert seen.flags.c_contiguous


def test_every_picture_comes_back_once_and_stays_valid(pictures: list[bytes]) -> None:
    with DecodePool(VIEWS, Limits(), num_processes=2) as pool:
        results = list(pool.decode(enumerate(pictures)))
    assert sorted(key for key, _ in results) == list(range(len(pictures)))
    for key, result in results:  # the pool and its memory are gone
        assert_good(result, pictures[key])


def test_several_threads_share_a_pool(pictures: list[bytes]) -> None:
    with (
        DecodePool(VIEWS, Limits(), num_processes=2) as pool,
        ThreadPoolExecutor(3) as threads,
    ):
        halves = [dict(enumerate(pictures[:20])), dict(enumerate(pictures[20:])), {}]
        results = threads.map(lambda items: dict(pool.decode(items.items())), halves)
        for items, result in zip(halves, results, strict=True):
            assert result.keys() == items.keys()
            for key, data in items.items():
                assert_good(result[key], data)


@pytest.fixture(scope="module")
def slow_picture(encode: Encode) -> bytes:
    """Return 98 million pixels, near a second of decoding."""
    return encode(Image.new("RGB", (9900, 9900)), "png", compress_level=1)


def error_of_victim(
    pool: DecodePool, slow: bytes, pictures: list[bytes], ending: signal.Signals
) -> MediaError:
    """Send a signal to the child while it decodes the slow picture; the others must be good."""
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])
    (child,) = children()
    before = child.cpu_times().user
    with ThreadPoolExecutor(1) as thread:
        results = thread.submit(lambda: dict(pool.decode(enumerate([slow, *pictures[:5]]))))
        wait_until(lambda: child.cpu_times().user > before + 0.05)
        child.send_signal(ending)
        done = results.result()
    (after,) = children()
    assert after.pid != child.pid
    for key, data in enumerate(pictures[:5], start=1):
        assert_good(done[key], data)
    assert isinstance(done[0], MediaError)
    return done[0]


@pytest.mark.parametrize(
    ("ending", "kind", "message"),
    [
        (signal.SIGSEGV, "crashed", "the decoder ended with SIGSEGV"),
        (signal.SIGKILL, "crashed", "the decoder was killed (out of memory?)"),
        (signal.SIGSTOP, "timeout", "not decoded after 12 s"),  # as endless as a loop
    ],
)
def test_what_ends_a_child_costs_the_picture_that_it_held(
    pool: DecodePool,
    slow_picture: bytes,
    pictures: list[bytes],
    ending: signal.Signals,
    kind: str,
    message: str,
) -> None:
    error = error_of_victim(pool, slow_picture, pictures, ending)
    assert (error.type, error.message) == (kind, message)


def test_a_child_that_died_idle_costs_nothing(pool: DecodePool, pictures: list[bytes]) -> None:
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])
    (child,) = children()
    child.kill()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])


def test_a_picture_that_takes_too_long(slow_picture: bytes) -> None:
    view = ImageView(width=4096, height=4096, interpolation="bicubic")
    with DecodePool([view], Limits(max_seconds=0.1), num_processes=1) as pool:
        result = dict(pool.decode([(7, slow_picture)]))[7]
    assert isinstance(result, MediaError)
    assert result.type == "timeout"


def test_a_picture_that_eats_memory(slow_picture: bytes, pictures: list[bytes]) -> None:
    """98 million pixels are 392 MB in Pillow; with less than that allowed it must fail alone."""
    limits = Limits(max_memory_bytes=128 << 20)
    with DecodePool(VIEWS, limits, num_processes=1) as pool:
        results = dict(pool.decode(enumerate([pictures[0], slow_picture, pictures[1]])))
    assert isinstance(results[1], MediaError)
    assert results[1].type == "out of memory"
    assert_good(results[0], pictures[0])
    assert_good(results[2], pictures[1])


def test_an_object_above_the_limit_never_reaches_a_child(pictures: list[bytes]) -> None:
    with DecodePool(VIEWS, Limits(max_bytes=1000), num_processes=1) as pool:
        results = dict(pool.decode([(0, bytes(1001)), (1, pictures[0]), (2, b"")]))
    assert isinstance(results[0], MediaError)
    assert results[0].type == "too many bytes"
    assert_good(results[1], pictures[0])
    assert isinstance(results[2], MediaError)
    assert results[2].type == "empty"


def test_a_caller_that_stops_early_leaves_nothing_behind(pictures: list[bytes]) -> None:
    num_fds, num_threads = psutil.Process().num_fds(), threading.active_count()
    with DecodePool(VIEWS, Limits(), num_processes=2) as pool:
        stream = pool.decode(enumerate(pictures * 5))
        next(stream)
        stream.close()
        assert len(dict(pool.decode(enumerate(pictures)))) == len(pictures)
        abandoned = pool.decode(enumerate(pictures))
        next(abandoned)
    assert children() == []
    assert threading.active_count() == num_threads
    assert psutil.Process().num_fds() <= num_fds  # a test before may leave some to be collected
    with pytest.raises(RuntimeError, match="closed"):
        list(abandoned)


def test_items_are_drawn_only_a_bounded_number_ahead(
    pool: DecodePool, pictures: list[bytes]
) -> None:
    drawn: list[int] = []

    def source() -> Iterator[tuple[int, bytes]]:
        for key in range(10_000):
            drawn.append(key)
            yield key, pictures[0]

    stream = pool.decode(source())
    for _ in range(20):
        next(stream)
    assert len(drawn) <= 20 + 8
    stream.close()


def test_an_error_of_the_source_reaches_the_caller(pool: DecodePool, pictures: list[bytes]) -> None:
    def source() -> Iterator[tuple[int, bytes]]:
        yield 0, pictures[0]
        raise LookupError("the bucket is gone")

    with pytest.raises(LookupError, match="the bucket is gone"):
        list(pool.decode(source()))
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])


def test_closing_interrupts_a_call_and_blames_no_picture(pictures: list[bytes]) -> None:
    pool = DecodePool(VIEWS, Limits(), num_processes=1)
    assert len(dict(pool.decode([(0, pictures[0])]))) == 1
    (child,) = children()
    child.suspend()
    with ThreadPoolExecutor(1) as thread:
        results = thread.submit(lambda: list(pool.decode(enumerate(pictures))))
        time.sleep(0.2)
        pool.close()
        with pytest.raises(RuntimeError, match="closed"):
            results.result()
    assert children() == []
    with pytest.raises(RuntimeError, match="closed"):
        list(pool.decode(enumerate(pictures)))


@pytest.mark.parametrize("executable", ["/bin/false", "/nonexistent/python"])
def test_a_child_that_cannot_start_is_no_pictures_fault(
    monkeypatch: pytest.MonkeyPatch, executable: str, pictures: list[bytes]
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with (
        DecodePool(VIEWS, Limits(), num_processes=1) as pool,
        pytest.raises((RuntimeError, FileNotFoundError)),
    ):
        list(pool.decode(enumerate(pictures)))


def test_ctrl_c_does_not_reach_the_children(pool: DecodePool, pictures: list[bytes]) -> None:
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])
    (child,) = children()
    assert os.getpgid(child.pid) != os.getpgid(0)
    child.send_signal(signal.SIGINT)
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])
    assert children() == [child]


PARENT = """
import sys, time
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.view import ImageView

pool = DecodePool([ImageView(width=8, height=8)], Limits(), num_processes=2)
print(len(list(pool.decode([(0, b""), (1, b"")]))), flush=True)
time.sleep(600)
"""


def test_children_die_with_a_killed_parent() -> None:
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=env, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "2\n"
        wait_until(lambda: len(children(parent.pid)) == 2)
        orphans = children(parent.pid)
        orphans[0].suspend()  # one that cannot notice by itself
        parent.kill()
    wait_until(lambda: not any(child.is_running() for child in orphans))


def test_children_are_limited(pool: DecodePool, pictures: list[bytes]) -> None:
    assert_good(dict(pool.decode([(0, pictures[0])]))[0], pictures[0])
    (child,) = children()
    soft, hard = child.rlimit(psutil.RLIMIT_AS)
    assert soft == hard
    assert 2 << 30 < soft < 4 << 30
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert child.num_threads() == 1
    loaded = Path(f"/proc/{child.pid}/maps").read_text(encoding="utf-8")
    for heavy in ("libtorch", "libarrow"):
        assert heavy not in loaded
