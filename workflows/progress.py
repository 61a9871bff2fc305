"""One line that says how far a run is, how fast, and for how long it will go on."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


def duration(seconds: float) -> str:
    """Return seconds as `42 s`, `3:20 min` or `5:07 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"


def say(line: str) -> None:
    """Print a line about a run, where what it prints for others does not go."""
    print(line, file=sys.stderr, flush=True)


@dataclass
class Progress:
    """How far a run is. The body of `progress` counts in it."""

    total: int
    done: int = 0
    before: int = 0
    """What of `done` an earlier run did."""
    of: str = "pictures"
    """What is counted."""
    errors: int = 0
    counts_errors: bool = False
    """Whether anybody counts them."""
    start: float = field(default_factory=time.monotonic)

    def tell(self, done: int) -> None:
        """Count what is done by now."""
        self.done = done

    def __str__(self) -> str:
        """Return one line: how many are done, the rate, errors, time left."""
        elapsed_s = time.monotonic() - self.start
        rate = (self.done - self.before) / elapsed_s if elapsed_s > 0 else 0.0
        percent = 100 * self.done // self.total if self.total else 100
        parts = (
            f"{self.done:,}/{self.total:,} {self.of} ({percent} %)",
            f"{rate:.1f}/s" if rate > 0 else "starting",
            f"{self.errors:,} errors" if self.counts_errors else "",
            f"{duration((self.total - self.done) / rate)} left" if rate > 0 else "",
        )
        return "  ".join(filter(None, parts))


@contextmanager
def progress(
    total: int, of: str = "pictures", *, counts_errors: bool = False
) -> Iterator[Progress]:
    """Show progress on standard error while the body runs.

    On a terminal the line is redrawn every second; in a log a new one appears every 30 seconds.
    """
    is_terminal = sys.stderr.isatty()
    stop = threading.Event()
    state = Progress(total, of=of, counts_errors=counts_errors)

    def show() -> None:
        while not stop.wait(1 if is_terminal else 30):
            if is_terminal:
                print(f"\r\033[K{state}", end="", file=sys.stderr, flush=True)
            else:
                print(state, file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield state
    finally:
        stop.set()
        thread.join()
        if is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
