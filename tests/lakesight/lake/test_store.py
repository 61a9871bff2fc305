"""The two stores keep the same promises."""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.lake.local import STALE_S, LocalStore
from lakesight.lake.s3 import PART_BYTES, S3Store
from lakesight.lake.store import ENTRIES, ChangedError, ForbiddenError, Store, TooLargeError
from workflows.s3_server import S3Server

ODD_KEYS = [
    "a b.jpg",
    "100%.jpg",
    "%2F.jpg",
    "ö日本.jpg",
    "a+b&c=d.jpg",
    "q?x#y.jpg",
    "tab\t.jpg",
    "line\nfeed.jpg",
    "[x]{y}|^`~'\".jpg",
    "*.jpg",
    "..x/y.jpg",
]


@pytest.fixture
def store(new_root: Callable[[], str]) -> Store:
    return Store.open(new_root())[0]


@pytest.fixture
def folder() -> str:
    """Stores of S3 share a bucket: each test has a folder of its own."""
    return uuid.uuid4().hex


def keys(pages: Iterable[pa.Table], folder: str = "") -> list[str]:
    return [key.removeprefix(f"{folder}/") for page in pages for key in page["key"].to_pylist()]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_key_comes_back(store: Store, folder: str, key: str) -> None:
    key = f"{folder}/{key}"
    if isinstance(store, S3Store) and not key.isprintable():
        with pytest.raises(UserError, match="without control characters"):
            store.create(key, b"first")
        return
    assert store.create(key, b"first")
    assert not store.create(key, b"second")
    assert store.get(key) == b"first"
    store.put(key, b"third!")
    assert store.get(key) == b"third!"
    assert store.get_range(key, 2, 5) == b"ird"
    (page,) = store.list(folder)
    assert page.schema == ENTRIES
    (row,) = page.to_pylist()
    entry = store.head(key)
    assert entry is not None
    assert row == {"key": key, "uri": store.uri(key), **entry._asdict()}
    assert entry.size == 6
    other, found = Store.open(store.uri(key))
    assert other.get(found) == b"third!"
    store.delete(key)
    assert not store.exists(key)


def test_a_file_is_put_in_parts(store: Store, folder: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for size in (0, 5, 3 * PART_BYTES + 7):
        path = tmp_path / "large"
        path.write_bytes(rng.bytes(size))
        store.put_file(f"{folder}/large", path)
        assert store.get(f"{folder}/large") == path.read_bytes()
    assert keys(store.list(folder), folder) == ["large"]
    if isinstance(store, S3Store):  # whose etag tells of how many parts an object was made
        head = store.head(f"{folder}/large")
        assert head is not None
        assert head.etag.endswith("-4")


def test_what_is_not_there(store: Store) -> None:
    assert store.head("none.jpg") is None
    assert not store.exists("none.jpg")
    assert keys(store.list("none")) == []
    store.delete("none.jpg")
    for read in (store.get, store.reader):
        with pytest.raises(FileNotFoundError):
            read("none.jpg")


def test_a_folder_is_not_a_prefix_of_names(store: Store, folder: str) -> None:
    for key in ("a/1.jpg", "a/b/2.jpg", "ab/3.jpg", "a.jpg"):
        store.put(f"{folder}/{key}", b"x")
    assert keys(store.list(f"{folder}/a"), folder) == ["a/1.jpg", "a/b/2.jpg"]
    assert sorted(keys(store.list(folder), folder)) == ["a.jpg", "a/1.jpg", "a/b/2.jpg", "ab/3.jpg"]


def test_reading_on_conditions(store: Store, folder: str) -> None:
    store.put(f"{folder}/a.jpg", b"12345")
    entry = store.head(f"{folder}/a.jpg")
    assert entry is not None
    assert store.get(f"{folder}/a.jpg", if_match=entry.etag, max_bytes=5) == b"12345"
    with pytest.raises(TooLargeError):
        store.get(f"{folder}/a.jpg", max_bytes=4)
    store.put(f"{folder}/a.jpg", b"123456")
    with pytest.raises(ChangedError):
        store.get(f"{folder}/a.jpg", if_match=entry.etag)


def test_a_file_to_seek_in(store: Store, folder: str) -> None:
    data = os.urandom(3 << 20)
    store.put(f"{folder}/big", data)
    with store.reader(f"{folder}/big") as file:
        assert file.read(10) == data[:10]
        file.seek(-7, os.SEEK_END)
        assert file.read() == data[-7:]
        file.seek(1 << 20)
        assert file.read(1 << 20) == data[1 << 20 : 2 << 20]


def test_a_store_crosses_the_wire_without_credentials(store: Store, folder: str) -> None:
    store.put(f"{folder}/a", b"x")
    wire = pickle.dumps(store)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert os.environ.get(name, "-none-").encode() not in wire
    assert pickle.loads(wire).get(f"{folder}/a") == b"x"


def test_one_of_many_threads_creates(store: Store, folder: str) -> None:
    barrier = threading.Barrier(8)
    won: list[int] = []

    def create(number: int) -> None:
        barrier.wait()
        if store.create(f"{folder}/race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get(f"{folder}/race") == str(won[0]).encode()


def test_local_writers_leave_no_rubbish_and_sweep_what_is_a_day_old(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("data/a", b"x")
    store.create("data/a", b"x")
    store.put("data/a", b"x")
    assert list((tmp_path / "_tmp").iterdir()) == []
    for name, age_s in (("old", STALE_S + 60), ("young", STALE_S - 60)):
        path = tmp_path / "_tmp" / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    store.sweep()
    assert [path.name for path in (tmp_path / "_tmp").iterdir()] == ["young"]


def test_names_that_are_not_utf8_can_be_listed_and_read(tmp_path: Path) -> None:
    (Path(os.fsdecode(bytes(tmp_path) + b"/bad\xff.jpg"))).write_bytes(b"x")
    (page,) = LocalStore(tmp_path).list()
    assert page["key"].to_pylist() == ["bad\ufffd.jpg"]
    store, key = Store.open(page["uri"][0].as_py())
    assert store.get(key) == b"x"


def test_linked_folders_are_not_followed_and_linked_files_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").write_bytes(b"x")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "2.jpg").symlink_to(tmp_path / "a/1.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert keys(LocalStore(tmp_path).list()) == ["2.jpg", "a/1.jpg"]


def test_keys_that_obstore_cannot_express(
    new_bucket: Callable[[], str], s3_server: S3Server
) -> None:
    """One of them must not hide the thousands around it."""
    bucket = new_bucket()
    store = S3Store(bucket)
    plain = [f"p/{number:04}.jpg" for number in range(1200)]
    for key in plain:
        store.put(key, b"")
    s3_server.client().put_object(Bucket=bucket, Key="p/0500\n.jpg", Body=b"p/0500\n.jpg")
    assert keys(store.list("p")) == sorted([*plain, "p/0500\n.jpg"])
    assert store.get("p/0500\n.jpg") == b"p/0500\n.jpg"
    entry = store.head("p/0500\n.jpg")
    assert entry is not None
    with pytest.raises(ChangedError):
        store.get("p/0500\n.jpg", if_match="0" * 32)
    with pytest.raises(TooLargeError):
        store.get("p/0500\n.jpg", if_match=entry.etag, max_bytes=3)


def test_pages_are_not_held(new_bucket: Callable[[], str]) -> None:
    store = S3Store(new_bucket())
    for number in range(2500):
        store.put(f"p/{number:04}.jpg", b"")
    pages = store.list("p")
    assert [next(pages).num_rows for _ in range(3)] == [1000, 1000, 500]
    assert next(pages, None) is None


def every_way(store: Store) -> list[Callable[[], object]]:
    return [lambda: list(store.list()), lambda: store.get("a"), lambda: store.put("a", b"")]


class TestMistakes:
    """Each is one line that says what to do, and never repeats a key."""

    def test_no_such_bucket(self, s3_server: S3Server) -> None:
        for act in every_way(S3Store("there-is-none")):
            with pytest.raises(UserError, match="there is no bucket 'there-is-none'"):
                act()

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_wrong_credentials(
        self, shared_bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        store = S3Store(shared_bucket)
        monkeypatch.setenv(name, "AKIAWRONGWRONG")
        for act in every_way(store):
            with pytest.raises(UserError, match="refuses the AWS credentials") as caught:
                act()
            assert not isinstance(caught.value, ForbiddenError)
            assert "AKIAWRONG" not in str(caught.value)
            assert caught.value.__cause__ is None
            assert "\n" not in str(caught.value)

    def test_no_credentials(self, shared_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        store = S3Store(shared_bucket)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(UserError, match="no AWS credentials"):
            store.get("a")

    def test_an_unknown_profile(self, shared_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        store = S3Store(shared_bucket)
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(UserError, match="nobody"):
            store.get("a")

    def test_may_read_but_not_write(
        self, shared_bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = S3Store(shared_bucket)
        store.put("a", b"x")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.reader_access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.reader_secret_key)
        assert store.get("a") == b"x"
        for act in (lambda: store.put("b", b""), lambda: store.create("b", b"")):
            with pytest.raises(ForbiddenError, match=r"no permission for s3://.*/b .*s3:PutObject"):
                act()

    def test_a_local_file_of_somebody_else(self) -> None:
        """Root may read everything, so the test reads as another user."""
        program = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from lakesight.lake.local import LocalStore\n"
            "from lakesight.lake.store import ForbiddenError\n"
            "os.geteuid() or os.setuid(65534)\n"
            "try: LocalStore(Path(sys.argv[1])).get('a.jpg')\n"
            "except ForbiddenError as error: print(error)"
        )
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            path = Path(folder, "a.jpg")
            path.touch(mode=0)
            done = subprocess.run(
                [sys.executable, "-c", program, folder], capture_output=True, text=True
            )
        assert done.stdout == f"no permission for {path}: check who owns it\n", done.stderr


def test_endpoint_and_keys_from_a_profile(
    shared_bucket: str,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(
        "[profile lake]\nregion = eu-west-1\nservices = here\n"
        f"[services here]\ns3 =\n  endpoint_url = {s3_server.endpoint}\n"
    )
    (tmp_path / "credentials").write_text(
        f"[lake]\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret_key}\n"
    )
    for name in s3_server.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lake")
    store = S3Store(shared_bucket)
    assert store.create("profile", b"x")
    assert store.get("profile") == b"x"
    assert store.connection.region == "eu-west-1"
