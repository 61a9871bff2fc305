"""How often a key may ask: one token bucket a key, in this process."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from lakesight.online.keys import Rate


@dataclass
class Bucket:
    """Tokens that come back at a rate; each request takes one.

    `num_tokens` may fall below zero: pictures are counted once the body was read, and what they
    owe is waited for by the next request.
    """

    per_s: float
    burst: float
    num_tokens: float
    at_s: float

    def wait_s(self, now_s: float) -> float:
        """Take one token and return 0, or take none and return how long until there is one."""
        self.num_tokens = min(self.burst, self.num_tokens + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        if self.num_tokens < 1:
            return (1 - self.num_tokens) / self.per_s
        self.num_tokens -= 1
        return 0.0


class Buckets:
    """The buckets of all keys.

    Every process has its own. So that all of them together never give out more than the rate,
    each gives out one part in `num_processes`; a key whose requests are spread unevenly is
    then refused early. The share of a burst is at least one request.
    """

    def __init__(self, num_processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_processes = num_processes
        self.clock = clock
        self._buckets: dict[str, tuple[Rate, Bucket]] = {}

    def wait_s(self, key_id: str, rate: Rate) -> int:
        """Count a request, and return 0; or return the whole seconds that it has to wait."""
        return math.ceil(self._bucket(key_id, rate).wait_s(self.clock()))

    def charge(self, key_id: str, rate: Rate, num_more: int) -> None:
        """Count so many more than the one that was counted already, without refusing any."""
        self._bucket(key_id, rate).num_tokens -= num_more

    def _bucket(self, key_id: str, rate: Rate) -> Bucket:
        """Return the bucket of a key: a full one for a key that is new or has another rate."""
        known = self._buckets.get(key_id)
        if known is None or known[0] != rate:
            burst = max(1.0, rate.burst / self.num_processes)
            new = Bucket(rate.per_s / self.num_processes, burst, burst, self.clock())
            known = self._buckets[key_id] = (rate, new)
        return known[1]
