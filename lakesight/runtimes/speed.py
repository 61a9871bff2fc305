"""How fast a runtime is: the best of some rounds, after calls that do not count."""

import time
from collections.abc import Callable, Sequence

from lakesight.models.base import Image
from lakesight.runtimes.base import Runtime

ROUNDS, WARM_UPS = 3, 4
"""The first calls of an engine allocate, choose their kernels, and start threads."""


def seconds_of(work: Callable[[], object], at_least_s: float) -> float:
    """Return the mean time of one call, in seconds, over calls that last so long together."""
    start = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - start < at_least_s:
        work()
        count += 1
    return (time.perf_counter() - start) / count


def seconds_per_picture(
    runtime: Runtime, views: Sequence[Image], batch: int, round_s: float
) -> float:
    """Return the best round's seconds a picture, in batches of that size.

    Takes about `ROUNDS * round_s`. Other runtimes should be closed: their threads wait for more
    work by spinning.
    """
    pictures = [views[number % len(views)] for number in range(batch)]
    for _ in range(WARM_UPS):
        runtime.infer(pictures)
    rounds = (seconds_of(lambda: runtime.infer(pictures), round_s) for _ in range(ROUNDS))
    return min(rounds) / batch
