import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from indexes.build import INDEX
from indexes.manifest import Pointer
from indexes.search import Searcher
from indexes.store import ABANDONED_AFTER, IndexStore
from lakesight.errors import UserError
from tests.indexing import publish, unit


def builds(uri: str) -> set[str]:
    store = IndexStore.open(uri)
    keys = [
        key for page in store.store.list(store.key("builds")) for key in page["key"].to_pylist()
    ]
    return {key.removeprefix(store.key("builds") + "/").split("/")[0] for key in keys}


def test_publishes_and_reads_back(new_root: Callable[[], str]) -> None:
    store = IndexStore.open(new_root())
    assert store.current() is None
    manifest = publish(store, unit(20, 8), "first")
    assert store.current() == manifest
    assert Searcher.open(store.uri).index.ntotal == 20


def test_a_reader_keeps_the_build_that_it_opened(new_root: Callable[[], str]) -> None:
    store, old, new = IndexStore.open(new_root()), unit(20, 8), unit(30, 8, seed=1)
    publish(store, old, "old", keep=1)
    reader = Searcher.open(store.uri)
    publish(store, new, "new", keep=2)
    assert (reader.index.ntotal, Searcher.open(store.uri).index.ntotal) == (20, 30)
    assert reader.search(old[:1].astype(np.float32), 1)["group"].to_pylist() == [0]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keeps_so_many_builds(keep: int, new_root: Callable[[], str]) -> None:
    store = IndexStore.open(new_root())
    for number in range(4):
        publish(store, unit(5, 8, seed=number), f"build-{number}", keep)
    assert builds(store.uri) == {f"build-{number}" for number in range(4 - keep, 4)}


def test_sweeps_what_was_abandoned_long_ago(tmp_path: Path) -> None:
    store = IndexStore.open(str(tmp_path))
    for name in ("abandoned", "in-progress"):
        (tmp_path / "builds" / name).mkdir(parents=True)
        (tmp_path / "builds" / name / INDEX).write_bytes(b"half")
    long_ago = time.time() - ABANDONED_AFTER.total_seconds() - 60
    os.utime(tmp_path / "builds" / "abandoned" / INDEX, times=(long_ago, long_ago))
    publish(store, unit(5, 8), "whole")
    assert builds(str(tmp_path)) == {"in-progress", "whole"}


DYING = """
import os, signal, sys
from tests.indexing import publish, unit
from indexes.store import IndexStore
from lakesight.lake.local import LocalStore

class DyingStore(LocalStore):
    '''Dies by SIGKILL just before, or just after, the object whose key ends in `last`.'''
    def put(self, key, data):
        self.die(key, "before")
        super().put(key, data)
        self.die(key, "after")
    def put_file(self, key, path):
        self.die(key, "before")
        super().put_file(key, path)
        self.die(key, "after")
    def die(self, key, now):
        when, last = sys.argv[2:]
        if key.endswith(last) and when == now:
            os.kill(os.getpid(), signal.SIGKILL)

folder = IndexStore.open(sys.argv[1])
publish(IndexStore(folder.uri, DyingStore(folder.store.root), ""), unit(30, 8, seed=1), "new", 1)
"""


@pytest.mark.parametrize(
    ("when", "last", "serves"),
    [
        ("before", INDEX, 20),
        ("before", "rows-00000.parquet", 20),
        ("before", "manifest.json", 20),
        ("before", "current.json", 20),
        ("after", "current.json", 30),
    ],
)
def test_a_killed_writer_leaves_the_old_build_or_the_new_one(
    when: str, last: str, serves: int, tmp_path: Path
) -> None:
    publish(IndexStore.open(str(tmp_path)), unit(20, 8), "old")
    died = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), when, last],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    searcher = Searcher.open(str(tmp_path))
    assert searcher.index.ntotal == searcher.rows.count_rows() == serves
    publish(IndexStore.open(str(tmp_path)), unit(40, 8, seed=2), "next")
    assert Searcher.open(str(tmp_path)).index.ntotal == 40


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "cut", "one bit"])
@pytest.mark.parametrize("name", [INDEX, "rows-00000.parquet", "manifest.json"])
def test_a_damaged_file_is_refused(name: str, how: str, tmp_path: Path) -> None:
    publish(IndexStore.open(str(tmp_path)), unit(20, 8), "only")
    damage(tmp_path / "builds" / "only" / name, how)
    with pytest.raises(UserError, match=f"damaged: {name}"):
        Searcher.open(str(tmp_path))


def test_a_damaged_object_in_a_bucket_is_refused(new_bucket: Callable[[], str]) -> None:
    store = IndexStore.open(f"s3://{new_bucket()}/index")
    publish(store, unit(20, 8), "only")
    key = store.key("builds", "only", INDEX)
    data = bytearray(store.store.get(key))
    data[-1] ^= 1
    store.store.put(key, bytes(data))
    with pytest.raises(UserError, match=f"damaged: {INDEX}"):
        Searcher.open(store.uri)


@pytest.mark.parametrize("build_id", ["../../elsewhere", "a/b", "..", ""])
def test_a_pointer_cannot_lead_out_of_the_index(build_id: str, tmp_path: Path) -> None:
    publish(IndexStore.open(str(tmp_path)), unit(20, 8), "only")
    path = tmp_path / "current.json"
    pointer = json.loads(path.read_bytes()) | {"build_id": build_id}
    with pytest.raises(ValidationError):
        Pointer.model_validate(pointer)
    path.write_text(json.dumps(pointer))
    with pytest.raises(UserError, match=r"current\.json"):
        Searcher.open(str(tmp_path))


def test_a_damaged_index_is_mended_by_the_next_build(tmp_path: Path) -> None:
    publish(IndexStore.open(str(tmp_path)), unit(20, 8), "old")
    (tmp_path / "current.json").write_text("{}")
    publish(IndexStore.open(str(tmp_path)), unit(30, 8), "new")
    assert Searcher.open(str(tmp_path)).index.ntotal == 30


def test_no_index_says_how_to_build_one(new_root: Callable[[], str]) -> None:
    with pytest.raises(UserError, match="lakesight index"):
        Searcher.open(new_root())


def test_a_file_is_no_place_for_an_index(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="expected a folder"):
        IndexStore.open(str(tmp_path / "file"))
