"""Several processes on one output: one wins each piece, and every object is in one piece."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from lakesight.lake.manifest import FOLDER, join
from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.schemas import ROW
from tests.committing import commit_all, globbed, rows_of, start_writer


@pytest.fixture
def uri(new_root: Callable[[], str]) -> str:
    return new_root()


@pytest.fixture
def output(uri: str, tmp_path: Path) -> Output:
    """An output with two pieces to do."""
    output = Output.open(uri)
    output.bind({"model": "none"}, ROW)
    output.plan(listing(tmp_path, range(20)), 10)
    return output


def listing(folder: Path, numbers: range) -> Source:
    path = folder / f"{numbers.start}-{numbers.stop}.csv"
    lines = [f"s3://bucket/{number:05}.jpg,{number}" for number in numbers]
    path.write_text("\n".join(["uri,etag", *lines]))
    return Source(uri=str(path))


def keys(*ranges: range) -> Counter[tuple[str, str]]:
    numbers = {number for each in ranges for number in each}
    return Counter((f"s3://bucket/{number:05}.jpg", str(number)) for number in numbers)


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_of_eight_processes_commits_a_piece(uri: str, output: Output) -> None:
    writers = [start_writer(uri, 0) for _ in range(8)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate()[0] for writer in writers]
    assert sorted(said) == ["False\n"] * 7 + ["True\n"]
    winner = writers[said.index("True\n")]
    table = output.store.get(output.data_key("00001-000000"))
    assert str(winner.pid).encode() in table
    assert [piece.name for piece in output.pending()] == ["00001-000001"]
    assert commit_all(output) == 1
    assert globbed(output) == keys(range(20))


def test_a_stopped_writer_that_was_overtaken_drops_its_work(uri: str, output: Output) -> None:
    writer = start_writer(uri, 1)
    psutil.Process(writer.pid).suspend()
    try:
        wait_until_stopped(writer.pid)
        assert commit_all(output) == 2
        before = output.store.get(output.data_key("00001-000001"))
    finally:
        psutil.Process(writer.pid).resume()
    said, _ = writer.communicate("go\n")
    assert said == "False\n"
    assert output.store.get(output.data_key("00001-000001")) == before
    assert globbed(output) == keys(range(20))


def test_a_killed_writer_leaves_nothing_that_is_seen(uri: str, output: Output) -> None:
    writer = start_writer(uri, 0)
    writer.kill()
    writer.communicate()
    assert globbed(output) == Counter()
    assert commit_all(output) == 2
    assert globbed(output) == keys(range(20))


def test_planners_with_different_listings_share_the_objects(
    uri: str, output: Output, tmp_path: Path
) -> None:
    """Four at once, overlapping: whatever the order, each object is in one piece."""
    ranges = [range(10, 60), range(30, 90), range(40), range(50, 100)]
    sources = [listing(tmp_path, numbers) for numbers in ranges]
    with ThreadPoolExecutor(4) as pool:
        planned = list(pool.map(lambda source: Output.open(uri).plan(source, 7), sources))
    assert sum(result.num_new for result in planned) == 80
    numbers = [result.generation for result in planned if result.generation]
    assert sorted(numbers) == list(range(2, 2 + len(numbers)))
    assert [each.number for each in output.generations()] == list(range(1, 2 + len(numbers)))
    commit_all(output)
    assert globbed(output) == keys(range(100))
    named = {part.file for each in output.generations() for part in each.parts}
    found = {
        key.removeprefix(join(output.prefix, ""))
        for page in output.store.list(join(output.prefix, FOLDER))
        for key in page["key"].to_pylist()
    }
    assert found == named, "the manifests of those who lost are removed"


def test_who_loses_a_generation_subtracts_what_the_winner_added(
    uri: str, output: Output, tmp_path: Path
) -> None:
    """The second planner plans all it does between the first one's listing and its commit."""
    overtaken = Output.open(uri)

    def overtake(num_new: int) -> int:
        if num_new == 30:
            assert output.plan(listing(tmp_path, range(20, 40)), 10).generation == 2
        return 10

    planned = overtaken.plan(listing(tmp_path, range(10, 50)), overtake)
    assert (planned.num_listed, planned.num_new, planned.generation) == (40, 10, 3)
    commit_all(output)
    assert globbed(output) == keys(range(50))


def test_who_loses_everything_adds_nothing(uri: str, output: Output, tmp_path: Path) -> None:
    def overtake(num_new: int) -> int:
        output.plan(listing(tmp_path, range(20, 60)), 10)
        return 10

    planned = Output.open(uri).plan(listing(tmp_path, range(30, 50)), overtake)
    assert (planned.num_known, planned.num_new, planned.generation) == (20, 0, None)
    commit_all(output)
    assert globbed(output) == keys(range(60))


def test_settings_have_one_winner(new_root: Callable[[], str]) -> None:
    uri = new_root()

    def bind(number: int) -> bool:
        try:
            Output.open(uri).bind({"number": number})
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(bind, range(8)))
    assert won.count(True) == 1
    assert Output.open(uri).settings().values == {"number": won.index(True)}


def test_rows_are_written_by_whoever_commits(output: Output) -> None:
    piece = output.pending()[0]
    manifest = output.read_piece(piece)
    assert output.commit(piece, rows_of(manifest, "first"))
    assert not output.commit(piece, rows_of(manifest, "second"))
    assert b"first" in output.store.get(output.data_key(piece.name))
