from lakesight.online.keys import Rate
from lakesight.online.rates import Buckets


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def admitted(buckets: Buckets, key: str, rate: Rate, num: int) -> int:
    return sum(buckets.wait_s(key, rate) == 0 for _ in range(num))


def test_a_burst_and_then_the_rate() -> None:
    clock, rate = Clock(), Rate(per_s=2, burst=5)
    buckets = Buckets(clock=clock)
    assert admitted(buckets, "a", rate, 20) == 5
    clock.now_s += 1
    assert admitted(buckets, "a", rate, 20) == 2
    clock.now_s += 1000
    assert admitted(buckets, "a", rate, 20) == 5, "a pause fills the bucket, and no more than it"


def test_how_long_to_wait() -> None:
    clock, rate = Clock(), Rate(per_s=0.1, burst=1)
    buckets = Buckets(clock=clock)
    assert buckets.wait_s("a", rate) == 0
    assert buckets.wait_s("a", rate) == 10
    clock.now_s += 9.9
    assert buckets.wait_s("a", rate) == 1
    clock.now_s += 1
    assert buckets.wait_s("a", rate) == 0


def test_each_key_has_its_own() -> None:
    rate = Rate(per_s=1, burst=1)
    buckets = Buckets(clock=Clock())
    assert admitted(buckets, "a", rate, 3) == 1
    assert admitted(buckets, "b", rate, 3) == 1


def test_pictures_are_paid_for_later() -> None:
    clock, rate = Clock(), Rate(per_s=1, burst=4)
    buckets = Buckets(clock=clock)
    assert buckets.wait_s("a", rate) == 0
    buckets.charge("a", rate, 9)
    assert buckets.wait_s("a", rate) == 7  # 4 - 10 = -6, until there is 1
    clock.now_s += 7
    assert buckets.wait_s("a", rate) == 0


def test_processes_together_give_out_no_more_than_the_rate() -> None:
    clock, rate = Clock(), Rate(per_s=8, burst=8)
    processes = [Buckets(4, clock) for _ in range(4)]
    assert sum(admitted(buckets, "a", rate, 20) for buckets in processes) == 8
    clock.now_s += 0.5
    assert sum(admitted(buckets, "a", rate, 20) for buckets in processes) == 4


def test_another_rate_counts_at_once() -> None:
    buckets = Buckets(clock=Clock())
    assert admitted(buckets, "a", Rate(per_s=1, burst=1), 5) == 1
    assert admitted(buckets, "a", Rate(per_s=1, burst=3), 5) == 3
