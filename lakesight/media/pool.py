"""Decoding in small limited child processes: a file may end one of them, never us."""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import SimpleQueue
from types import TracebackType

from lakesight.media.child import ChildConfig
from lakesight.media.decode import Decoded
from lakesight.media.errors import MediaError
from lakesight.media.limits import Limits
from lakesight.media.process import DecodeProcess
from lakesight.media.view import ImageView

NUM_IN_FLIGHT_PER_PROCESS = 8
"""Objects that one `decode` call hands over ahead, so that children work while the caller does."""

Result = Decoded | MediaError

MAX_BYTES_IN_FLIGHT = 256 << 20
"""Encoded bytes that one `decode` call hands over ahead."""

CLOSED = "the decode pool is closed"


class _Call:
    """One `decode` in progress: what it has handed over, and where its results go."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.num_in_flight = 0
        self.num_bytes = 0
        self.abandoned = threading.Event()
        self.results: SimpleQueue[tuple[int, int, Result | Exception]] = SimpleQueue()

    def add(self, key: int, data: bytes) -> "_Task":
        """Count one object as handed over."""
        self.num_in_flight += 1
        self.num_bytes += len(data)
        size = len(data)
        return _Task(
            data,
            None,
            is_wanted=lambda: not self.abandoned.is_set(),
            done=lambda result: self.results.put((key, size, result)),
        )

    def is_full(self) -> bool:
        """Return whether to wait before handing over more."""
        return self.num_in_flight >= self.max_in_flight or self.num_bytes >= MAX_BYTES_IN_FLIGHT

    def wait(self) -> tuple[int, Result]:
        """Return the next result, as soon as there is one."""
        key, size, result = self.results.get()
        self.num_in_flight -= 1
        self.num_bytes -= size
        if isinstance(result, Decoded | MediaError):
            return key, result
        raise result


@dataclass(frozen=True, slots=True)
class _Task:
    data: bytes
    places: Sequence[int] | None
    """Of the views that are wanted; None for all."""
    is_wanted: Callable[[], bool]
    """Asked once, before the work: whether anybody still waits."""
    done: Callable[[Result | Exception], None]


class DecodePool:
    """A few children that decode for any number of threads. Close it, or use it with `with`.

    Every object handed in comes back exactly once, as `Decoded` or as `MediaError`. What kills a
    child costs that one object and about 0.3 s to start the next child.
    """

    def __init__(self, views: Sequence[ImageView], limits: Limits, num_processes: int) -> None:
        config = ChildConfig(views=tuple(views), limits=limits)
        self.views = config.views
        """What it can draw."""
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._processes = [DecodeProcess(config) for _ in range(num_processes)]
        self._threads = [
            threading.Thread(target=self._work, args=(process,), name="decode", daemon=True)
            for process in self._processes
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def decode(
        self, items: Iterable[tuple[int, bytes]]
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield each key with its result, in the order of completion.

        `items` is drawn from in the calling thread, a bounded number ahead of what has left.
        Several threads may call this at once; a caller may stop early. Raises `RuntimeError` when
        the pool is closed or no child can be started.
        """
        call = _Call(NUM_IN_FLIGHT_PER_PROCESS * len(self._threads))
        try:
            for key, data in items:
                self._hand_over(call.add(key, data))
                while call.is_full() or not call.results.empty():
                    yield call.wait()
            while call.num_in_flight:
                yield call.wait()
        finally:
            call.abandoned.set()

    def submit(self, data: bytes, views: Sequence[ImageView]) -> "Future[Result]":
        """Hand one object over, and return at once; of the pool's views only these are drawn.

        `Decoded.views` are in their order. The future raises `RuntimeError` as `decode` does; one
        that is cancelled before its turn costs nothing.
        """
        future: Future[Result] = Future()
        places = sorted({self.views.index(view) for view in views})

        def done(result: Result | Exception) -> None:
            if isinstance(result, Decoded):
                drawn = dict(zip(places, result.views, strict=True))
                ordered = tuple(drawn[self.views.index(view)] for view in views)
                future.set_result(replace(result, views=ordered))
            elif isinstance(result, MediaError):
                future.set_result(result)
            else:
                future.set_exception(result)

        self._hand_over(_Task(data, places, future.set_running_or_notify_cancel, done))
        return future

    def close(self) -> None:
        """End every child and thread; calls still in progress raise."""
        with self._lock:
            self._closed.set()
            for _ in self._threads:
                self._tasks.put(None)
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()

    def _hand_over(self, task: _Task) -> None:
        with self._lock:  # nothing may follow the None that ends a thread: nobody would answer it
            if self._closed.is_set():
                raise RuntimeError(CLOSED)
            self._tasks.put(task)

    def _work(self, process: DecodeProcess) -> None:
        """Serve tasks until None comes. The thread lives as long as its child, see there."""
        with process:
            with contextlib.suppress(OSError, RuntimeError):  # the first task will say it
                process.start()
            for task in iter(self._tasks.get, None):
                if task.is_wanted():
                    task.done(self._answer(process, task))

    def _answer(self, process: DecodeProcess, task: _Task) -> Result | Exception:
        try:
            result = None if self._closed.is_set() else process.decode(task.data, task.places)
        except Exception as error:  # ours to report in the thread that asked
            return error
        if result is None or self._closed.is_set():  # killed by us: no picture's fault
            return RuntimeError(CLOSED)
        return result
