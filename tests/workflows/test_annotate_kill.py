"""What an output promises, whatever is killed: nothing lost, nothing doubled, nothing made up."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lakesight.lake.store import Store
from tests.annotating import MODEL, assert_exactly_once, run, start, wait_until

NUM_PHOTOS = 240
ROWS_PER_FILE = 4


def num_files(output: str) -> int:
    store, prefix = Store.open(output)
    return sum(page.num_rows for page in store.list(f"{prefix}/data" if prefix else "data"))


def words(photos: Path, output: str) -> list[str]:
    rows = str(ROWS_PER_FILE)
    return ["annotate", str(photos), output, "--detect", MODEL, "--rows-per-file", rows]


def wait_for_files(process: "subprocess.Popen[str]", output: str, count: int) -> None:
    """Wait until a run has committed that many files."""
    wait_until(lambda: num_files(output) >= count, process, limit_s=120)


def is_stage(command: list[str]) -> bool:
    return "ray::" in " ".join(command) and "Stage" in " ".join(command)


def kill_with_children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """SIGKILL the driver alone; return the processes that were below it.

    Without Ray's own agents: they notice by themselves, a minute later.
    """
    below = psutil.Process(process.pid).children(recursive=True)
    below = [child for child in below if not child.name().endswith("Agent")]
    process.kill()
    process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    return below


def test_a_killed_driver_loses_and_doubles_nothing(
    photos: Path, new_bucket: Callable[[], str]
) -> None:
    """Twice the same run: at 10 and at 80 % of it."""
    output = f"s3://{new_bucket()}/seen"
    done = 0
    for share in (0.1, 0.8):
        process = start(*words(photos, output))
        wait_for_files(process, output, max(done + 1, round(share * NUM_PHOTOS / ROWS_PER_FILE)))
        below = kill_with_children(process)
        _, alive = psutil.wait_procs(below, timeout=30)
        assert not alive, f"still there after their driver was killed: {alive}"
        before, done = done, num_files(output)
        assert before < done < NUM_PHOTOS / ROWS_PER_FILE  # an actor may outlive it by one piece

    said = run(*words(photos, output))
    left = NUM_PHOTOS - ROWS_PER_FILE * done
    assert f"{NUM_PHOTOS} listed, {NUM_PHOTOS} of them known, {left} to look at" in said
    assert f"Wrote {left} rows" in said
    assert_exactly_once(output, NUM_PHOTOS)


def test_a_killed_actor_costs_nothing_but_time(photos: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "seen")
    process = start(*words(photos, output))
    wait_for_files(process, output, 3)
    actors = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and is_stage(child.cmdline())
    ]
    assert actors, "no actor was found"
    for actor in actors:
        actor.send_signal(signal.SIGKILL)
    printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, printed + errors
    assert f"Wrote {NUM_PHOTOS} rows" in printed, "what it committed before it died is ours too"
    assert_exactly_once(output, NUM_PHOTOS)


@pytest.mark.slow
def test_two_drivers_on_one_output_share_the_work(
    photos: Path, new_bucket: Callable[[], str]
) -> None:
    """One of them with pools of its own for its model, as on GPUs: a piece passes two actors."""
    output = f"s3://{new_bucket()}/seen"
    pools: list[list[str]] = [[], ["--separate-pools"]]
    drivers = [start(*words(photos, output), "--json", *more) for more in pools]
    written, looked_at = [], 0
    for driver in drivers:
        printed, errors = driver.communicate(timeout=280)
        assert driver.returncode == 0, printed + errors
        record = json.loads(printed)
        written.append(record["rows"])
        looked_at += record["stages"]["detect"]["rows"]
    assert_exactly_once(output, NUM_PHOTOS)
    assert sum(written) == NUM_PHOTOS
    assert min(written) > 0
    assert looked_at < 1.5 * NUM_PHOTOS, "most pieces were looked at by one of them only"


@pytest.mark.slow
def test_a_stopped_driver_that_was_overtaken_drops_its_work(photos: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "seen")
    stopped = start(*words(photos, output))
    wait_for_files(stopped, output, 3)
    tree = [psutil.Process(stopped.pid), *psutil.Process(stopped.pid).children(recursive=True)]
    for process in tree:
        process.suspend()
    try:
        run(*words(photos, output))
        assert_exactly_once(output, NUM_PHOTOS)
    finally:
        for process in tree:
            process.resume()
    printed, errors = stopped.communicate(timeout=240)
    assert stopped.returncode == 0, printed + errors
    assert_exactly_once(output, NUM_PHOTOS)
