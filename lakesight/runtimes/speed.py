"""How fast runtimes are: rounds of all of them by turns, so that a busy moment hits each alike."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from lakesight.models.base import Image
from lakesight.runtimes.base import Runtime

ROUNDS = 3
Key = TypeVar("Key", bound=Hashable)


def seconds_of(work: Callable[[], object], at_least_s: float) -> float:
    """Return the mean time of one call, in seconds, over calls that last so long together."""
    start = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - start < at_least_s:
        work()
        count += 1
    return (time.perf_counter() - start) / count


def seconds_per_picture(
    runtimes: Mapping[Key, Runtime], views: Sequence[Image], batch: int, round_s: float
) -> dict[Key, float]:
    """Return the best round's seconds a picture of each runtime, in batches of that size.

    Takes about `ROUNDS * round_s` a runtime; the first call of each is not counted.
    """
    pictures = [views[number % len(views)] for number in range(batch)]
    for runtime in runtimes.values():
        runtime.infer(pictures)
    best = dict.fromkeys(runtimes, float("inf"))
    for _ in range(ROUNDS):
        for name, runtime in runtimes.items():
            taken = seconds_of(lambda one=runtime: one.infer(pictures), round_s)  # type: ignore[misc]
            best[name] = min(best[name], taken / batch)
    return best
