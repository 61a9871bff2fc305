"""What converters share."""

import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.exporting.base import INPUT, quietly, run_tool
from lakesight.exporting.onnx import Batches


def python(code: str) -> list[str | Path]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('it cannot be')", "tool failed: it cannot be"),
        ("import sys; sys.exit(3)", "tool failed: exit status 3"),
        ("input()", "(?s)tool failed: .*EOFError"),  # nobody is there to answer
        ("import time; time.sleep(600)", "tool was stopped: it was not done after 1 s"),
        ("pass", "tool failed: exit status 0"),  # and nothing made
    ],
)
def test_a_tool_makes_its_file_or_says_why_not(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run_tool("tool", python(code), tmp_path / "made", timeout_s=1)


def test_a_tool_that_makes_its_file_is_content(tmp_path: Path) -> None:
    run_tool("tool", python(f"open({str(tmp_path / 'made')!r}, 'w')"), tmp_path / "made")


@pytest.mark.parametrize(
    ("count", "batch", "wanted"), [(3, 2, [[0, 1], [2, 2]]), (1, 3, [[0] * 3])]
)
def test_the_last_batch_is_filled_up(count: int, batch: int, wanted: list[list[int]]) -> None:
    batches = Batches((np.full((1, 1), n, np.float32) for n in range(count)), batch)
    found = list(iter(batches.get_next, None))
    assert [one[INPUT].ravel().tolist() for one in found if one] == wanted


def test_threads_that_convert_at_once_leave_the_process_as_it_was() -> None:
    """The second comes while the first is at it, and leaves after it."""
    before = (sys.stdout, sys.stderr, logging.root.manager.disable)
    here, second_here = threading.Event(), threading.Event()

    def convert() -> None:
        with quietly(), quietly():
            here.set()
            second_here.wait(0.2)

    def convert_too() -> None:
        here.wait()
        with quietly():
            second_here.set()
            first.join()

    first, second = threading.Thread(target=convert), threading.Thread(target=convert_too)
    for one in (first, second):
        one.start()
    for one in (first, second):
        one.join()
    assert (sys.stdout, sys.stderr, logging.root.manager.disable) == before
