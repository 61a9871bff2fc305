"""Downloading pieces from real stores, and from a server that fails as it is told to."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.lake.fetch import FetchError, fetch
from lakesight.lake.local import etag_of
from lakesight.lake.source import Source
from lakesight.lake.store import Store, StoreError
from lakesight.lake.uri_list import MISSING
from lakesight.schemas import LISTING
from workflows.s3_server import S3Server

LIMITS = {"max_bytes_in_flight": 1 << 20, "concurrency": 8, "max_object_bytes": 1 << 16}


@pytest.fixture
def root(new_root: Callable[[], str]) -> str:
    root = new_root()
    for number in range(40):
        put(root, f"{number:02} ö%.jpg", bytes([number]) * number * 100)
    return root


def put(root: str, name: str, data: bytes) -> None:
    store, prefix = Store.open(root)
    store.put(f"{prefix}/{name}" if prefix else name, data)


def listed(root: str) -> pa.Table:
    return pa.concat_tables(Source(uri=root).list())


def test_every_object_once(root: str) -> None:
    rows = listed(root)
    answers = list(fetch(rows, **LIMITS))
    assert sorted(row for row, _ in answers) == list(range(40))
    assert dict(answers) == {number: bytes([number]) * number * 100 for number in range(40)}


def test_what_is_no_longer_what_was_listed(root: str) -> None:
    rows = listed(root)
    store, prefix = Store.open(root)
    put(root, "03 ö%.jpg", b"overwritten since")
    store.delete(f"{prefix}/05 ö%.jpg" if prefix else "05 ö%.jpg")
    answers = dict(fetch(rows, **LIMITS))
    errors = {row: data for row, data in answers.items() if isinstance(data, FetchError)}
    assert {row: error.reason for row, error in errors.items()} == {3: "changed", 5: "not found"}
    assert len(answers) == 40


def test_what_the_disk_cannot_read() -> None:
    file = Path("/proc/self/mem")  # at 0 there is nothing: the kernel answers EIO
    row = {"uri": file.as_uri(), "etag": etag_of(file.stat()), "size": 0, "modified": None}
    ((_, error),) = fetch(pa.Table.from_pylist([row], LISTING), **LIMITS)
    assert isinstance(error, FetchError)
    assert error.reason == "unreadable"


def test_what_lies_in_a_bucket_that_is_gone(
    s3_server: S3Server, new_bucket: Callable[[], str]
) -> None:
    here = f"s3://{new_bucket()}/photos"
    put(here, "here.jpg", b"here")
    gone = {"uri": "s3://no-such-bucket-here/a.jpg", "etag": '"a"', "size": 1, "modified": None}
    rows = pa.concat_tables([listed(here), pa.Table.from_pylist([gone], LISTING)])
    answers = dict(fetch(rows, **LIMITS))
    assert answers[0] == b"here"
    assert isinstance(answers[1], FetchError)
    assert answers[1].reason == "no bucket"


def test_what_was_never_there(root: str) -> None:
    row = {"uri": f"{root}/none.jpg", "etag": MISSING, "size": None, "modified": None}
    ((_, error),) = fetch(pa.Table.from_pylist([row], LISTING), **LIMITS)
    assert isinstance(error, FetchError)
    assert error.reason == "not found"


@pytest.mark.parametrize("size_is_known", [True, False])
def test_what_is_too_large(root: str, size_is_known: bool) -> None:
    put(root, "40.jpg", b"x" * (1 << 17))
    rows = listed(root)
    if not size_is_known:
        rows = rows.set_column(2, "size", pa.nulls(41, pa.int64()))
    answers = dict(fetch(rows, **LIMITS))
    error = answers.pop(40)
    assert isinstance(error, FetchError)
    assert error.reason == "too large"
    assert "65536" in str(error)
    assert all(isinstance(data, bytes) for data in answers.values())


def test_an_object_larger_than_the_budget_goes_alone(root: str) -> None:
    limits = LIMITS | {"max_bytes_in_flight": 1000}
    assert len(dict(fetch(listed(root), **limits))) == 40


def test_no_rows(root: str) -> None:
    assert list(fetch(LISTING.empty_table(), **LIMITS)) == []


def test_wrong_credentials_are_raised(shared_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"s3://{shared_bucket}/credentials"
    put(root, "a.jpg", b"x")
    rows = listed(root)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="refuses the AWS credentials"):
        list(fetch(rows, **LIMITS))


class Server(http.server.ThreadingHTTPServer):
    """An object store of 64 KiB objects, which counts, and answers `status` to some keys."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.num_running = 0
        self.most_running = 0
        self.num_asked: dict[str, int] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.num_running += 1
            self.server.most_running = max(self.server.most_running, self.server.num_running)
            asked = self.server.num_asked[self.path] = self.server.num_asked.get(self.path, 0) + 1
        time.sleep(0.05)
        name = self.path.rpartition("/")[2]
        failing = name == "always.jpg" or (name == "once.jpg" and asked == 1)
        status, body = (503, b"<Code>SlowDown</Code>") if failing else (200, b"x" * (1 << 16))
        with self.server.lock:
            self.server.num_running -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Be quiet."""


@pytest.fixture
def server(s3_server: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def objects(*names: str) -> pa.Table:
    rows = [{"uri": f"s3://bucket/{name}", "etag": "e", "size": 1 << 16} for name in names]
    return pa.Table.from_pylist(rows, LISTING)


def test_bytes_in_flight_are_bounded_and_the_caller_sets_the_pace(server: Server) -> None:
    limits = LIMITS | {"max_bytes_in_flight": 3 << 16}
    answers = fetch(objects(*map(str, range(20))), **limits)
    next(answers)
    time.sleep(0.5)
    assert sum(server.num_asked.values()) == 3
    assert len(list(answers)) == 19
    assert server.most_running <= 3


def test_no_more_at_once_than_asked_for(server: Server) -> None:
    limits = LIMITS | {"max_bytes_in_flight": 1 << 30, "concurrency": 4}
    assert len(list(fetch(objects(*map(str, range(20))), **limits))) == 20
    assert 1 < server.most_running <= 4


def test_what_passes_is_tried_again(server: Server) -> None:
    assert len(list(fetch(objects("once.jpg"), **LIMITS))) == 1
    assert server.num_asked == {"/bucket/once.jpg": 2}


def test_what_does_not_pass_is_raised(server: Server) -> None:
    """So that the piece is not committed, and the next run tries it again."""
    with pytest.raises(StoreError, match=r"s3://bucket/always\.jpg: SlowDown"):
        list(fetch(objects("always.jpg"), **LIMITS))
    assert server.num_asked["/bucket/always.jpg"] > 2


def test_nobody_answers(s3_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server:
        port = server.server_port
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(StoreError, match=r"s3://bucket/a\.jpg: no answer: check AWS_END"):
        list(fetch(objects("a.jpg"), **LIMITS))


def test_a_caller_that_stops_leaves_no_threads(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    answers = fetch(listed(str(tmp_path)), **LIMITS)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("fetch") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
