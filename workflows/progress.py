"""One line that says how far a run is, how fast, and for how long it will go on."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def describe(done: int, total: int, errors: int, elapsed_s: float) -> str:
    """Return the progress as one line: pictures done, rate, errors, time left."""
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    left = duration((total - done) / rate) if rate > 0 else "?"
    percent = 100 * done // total if total else 100
    return f"{done:,}/{total:,} ({percent} %)  {rate:.1f}/s  {errors:,} errors  {left} left"


def duration(seconds: float) -> str:
    """Return seconds as `42 s`, `3:20 min` or `5:07 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"


@contextmanager
def progress(read: Callable[[], tuple[int, int]], total: int) -> Iterator[None]:
    """Show `describe` on standard error while the body runs; `read` gives (done, errors).

    On a terminal the line is redrawn every second; in a log a new one appears every 30 seconds.
    """
    is_terminal = sys.stderr.isatty()
    stop = threading.Event()
    start = time.monotonic()

    def show() -> None:
        while not stop.wait(1 if is_terminal else 30):
            line = describe(*_arguments(), time.monotonic() - start)
            print(f"\r\033[K{line}" if is_terminal else line, end="" if is_terminal else "\n",
                  file=sys.stderr, flush=True)  # fmt: skip

    def _arguments() -> tuple[int, int, int]:
        done, errors = read()
        return done, total, errors

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
