"""The line that says how far a run is."""

import time

from workflows.progress import Progress


def test_the_rate_and_the_time_left_are_those_of_this_run() -> None:
    line = Progress(
        total=1100, done=600, before=500, errors=2, counts_errors=True, start=time.monotonic() - 10
    )
    assert str(line) == "600/1,100 pictures (54 %)  10.0/s  2 errors  50 s left"


def test_what_has_not_begun_has_no_end_yet() -> None:
    line = Progress(total=100, done=50, before=50, of="texts", start=time.monotonic() - 10)
    assert str(line) == "50/100 texts (50 %)  starting"
