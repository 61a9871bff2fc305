"""The promises of an output, by one process; races are in test_races.py."""

import io
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.lake.fetch import fetch
from lakesight.lake.local import LocalStore
from lakesight.lake.manifest import PART_ROWS
from lakesight.lake.output import Output
from lakesight.lake.settings import Settings, differences
from lakesight.lake.source import Source
from lakesight.lake.store import ForbiddenError, Store
from lakesight.schemas import LISTING, MANIFEST, ROW, WORDS, row_id
from tests.committing import commit_all, globbed, rows_of
from workflows.s3_server import S3Server

SETTINGS = {"models": [{"name": "ssd", "score": 0.25}], "views": {"width": 320}}


@pytest.fixture
def lake(new_root: Callable[[], str]) -> str:
    """A source of ten images."""
    root = new_root()
    for number in range(10):
        put(root, f"{number} ö%.jpg", b"first")
    return root


@pytest.fixture
def output(new_root: Callable[[], str]) -> Output:
    output = Output.open(new_root())
    output.bind(SETTINGS, ROW)
    return output


def put(root: str, name: str, data: bytes) -> None:
    store, prefix = Store.open(root)
    store.put(f"{prefix}/{name}" if prefix else name, data)


def listing(root: str) -> set[tuple[str, str]]:
    pages = Source(uri=root).list()
    return {(row["uri"], row["etag"]) for page in pages for row in page.to_pylist()}


def test_from_a_source_to_rows(lake: str, output: Output) -> None:
    planned = output.plan(Source(uri=lake), 4)
    assert (planned.num_listed, planned.num_known, planned.num_new) == (10, 0, 10)
    assert planned.generation == 1
    pieces = output.pending()
    assert [piece.name for piece in pieces] == ["00001-000000", "00001-000001", "00001-000002"]
    assert [piece.num_rows for piece in pieces] == [4, 4, 2]
    tables = [output.read_piece(piece) for piece in pieces]
    assert [table.num_rows for table in tables] == [4, 4, 2]
    assert {table.schema for table in tables} == {MANIFEST}
    manifest = pa.concat_tables(tables).to_pylist()
    assert [row["id"] for row in manifest] == [row_id(row["uri"], row["etag"]) for row in manifest]
    listed = [row for page in Source(uri=lake).list() for row in page.to_pylist()]
    assert [{name: row[name] for name in LISTING.names} for row in manifest] == listed

    assert not output.is_committed(pieces[1])
    assert output.commit(pieces[1], rows_of(tables[1]))
    assert output.is_committed(pieces[1])
    assert output.pending() == [pieces[0], pieces[2]]
    assert not output.commit(pieces[1], rows_of(tables[1]))
    assert commit_all(output) == 2
    assert globbed(output) == Counter(listing(lake))


def test_a_manifest_freezes_what_a_list_says(output: Output, tmp_path: Path) -> None:
    uris = [f"s3://no-such-bucket/{number}.jpg" for number in range(3)]
    said = {
        "prompt": ["a photo of", None, None],
        "questions": [["a?", "b?"], None, []],
        "candidates": [None, ["yes", "no"], None],
    }
    pq.write_table(pa.table({"uri": uris, "etag": uris, **said}), tmp_path / "list.parquet")
    source = Source(uri=str(tmp_path / "list.parquet"), words=("prompt", "questions"))
    output.plan(source, 2)
    planned = pa.concat_tables([output.read_piece(piece) for piece in output.pieces()])
    assert planned.schema == MANIFEST
    assert planned["prompt"].to_pylist() == said["prompt"]
    assert planned["questions"].to_pylist() == said["questions"]
    assert planned["candidates"].to_pylist() == [None] * 3
    assert output.plan(source, 2).num_new == 0


def asked(lake: str, path: Path, questions: list[str | None]) -> Source:
    """Return a list of the lake's images that asks something of each."""
    uris = [row["uri"] for page in Source(uri=lake).list() for row in page.to_pylist()]
    column = pa.array([one and [one] for one in questions], pa.list_(pa.string()))
    pq.write_table(pa.table({"uri": uris, "questions": column}), path)
    return Source(uri=str(path), words=("questions", "candidates"))


def test_other_words_are_other_work(lake: str, output: Output, tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    first = ["a?", None, *["b?"] * 8]
    second = ["c?", *first[1:]]
    output.plan(asked(lake, path, first), 4)
    commit_all(output)
    assert output.plan(asked(lake, path, first), 4).num_new == 0
    planned = output.plan(asked(lake, path, second), 4)
    assert (planned.num_known, planned.num_new) == (9, 1)
    (piece,) = output.pending()
    rows = output.read_piece(piece)
    assert rows["questions"].to_pylist() == [["c?"]]
    limits = {"max_bytes_in_flight": 1 << 20, "concurrency": 2, "max_object_bytes": 1 << 16}
    assert list(fetch(rows, **limits)) == [(0, b"first")]  # the object itself did not change
    commit_all(output)
    assert output.plan(asked(lake, path, second), 4).num_new == 0
    uri = rows["uri"][0].as_py()
    assert globbed(output).total() == 11  # the old row stays, as of an object that changed
    latest = lakesight.open(output.uri).latest(["uri", "etag"]).read_all().to_pylist()
    assert len(latest) == 10
    assert [one["etag"] for one in latest if one["uri"] == uri] == rows["etag"].to_pylist()


def test_words_that_come_back_are_not_looked_at_again(
    lake: str, output: Output, tmp_path: Path
) -> None:
    path = tmp_path / "list.parquet"
    for question in ("a?", "b?"):
        output.plan(asked(lake, path, [question] * 10), 4)
        commit_all(output)
    before = lakesight.open(output.uri).latest(["id", "uri", "etag"]).read_all()
    planned = output.plan(asked(lake, path, ["a?"] * 10), 4)
    assert (planned.num_new, output.pending()) == (0, [])
    after = lakesight.open(output.uri).latest(["id", "uri", "etag"]).read_all()
    assert {*after["uri"].to_pylist()} == {*before["uri"].to_pylist()}
    assert not {*after["id"].to_pylist()} & {*before["id"].to_pylist()}


def test_a_picture_that_is_told_nothing_is_the_same_from_any_source(
    lake: str, output: Output, tmp_path: Path
) -> None:
    output.plan(Source(uri=lake), 4)
    told = asked(lake, tmp_path / "list.parquet", ["a?", *[None] * 9])
    assert output.plan(told, 4).num_new == 1


def test_a_manifest_from_before_there_were_words_is_read(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), 4)
    (generation,) = output.generations()
    for part in generation.parts:
        key = output._key(part.file)
        with output.store.reader(key) as file:
            table = pq.read_table(pa.PythonFile(file, "r")).drop_columns(WORDS.names)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=4)
        output.store.put(key, buffer.getvalue())
    assert {output.read_piece(piece).schema for piece in output.pieces()} == {MANIFEST}
    assert commit_all(output) == 3


def test_running_again_does_nothing(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), 4)
    commit_all(output)
    planned = output.plan(Source(uri=lake), 3)
    assert (planned.num_listed, planned.num_known, planned.num_new) == (10, 10, 0)
    assert planned.generation is None
    assert output.pending() == []


def test_what_is_new_and_what_was_left_are_done_together(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), 4)
    first = output.pending()[0]
    output.commit(first, rows_of(output.read_piece(first)))
    for number in range(3):
        put(lake, f"new {number}.jpg", b"x")
    planned = output.plan(Source(uri=lake), 2)
    assert (planned.num_listed, planned.num_new, planned.generation) == (13, 3, 2)
    names = [piece.name for piece in output.pending()]
    assert names == ["00001-000001", "00001-000002", "00002-000000", "00002-000001"]
    assert commit_all(output) == 4
    assert globbed(output) == Counter(listing(lake))


def test_a_changed_object_is_done_again_and_a_deleted_one_stays(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), 4)
    commit_all(output)
    before = listing(lake)
    put(lake, "3 ö%.jpg", b"second version")
    store, prefix = Store.open(lake)
    store.delete(f"{prefix}/4 ö%.jpg" if prefix else "4 ö%.jpg")
    planned = output.plan(Source(uri=lake), 4)
    assert (planned.num_listed, planned.num_new) == (9, 1)
    commit_all(output)
    assert globbed(output) == Counter(before | listing(lake))


def test_an_object_that_is_as_it_once_was_is_not_done_again(tmp_path: Path, output: Output) -> None:
    """A -> B -> A: no work, but a manifest entry, so that the latest is A again."""
    for etag, num_new, generation in (("A", 1, 1), ("B", 1, 2), ("A", 0, 3), ("A", 0, None)):
        (tmp_path / "list.csv").write_text(f"uri,etag\ns3://bucket/a.jpg,{etag}\n")
        planned = output.plan(Source(uri=str(tmp_path / "list.csv")), 4)
        assert (planned.num_new, planned.generation) == (num_new, generation)
    assert [each.num_changed for each in output.generations()] == [0, 1, 1]
    assert [piece.name for piece in output.pieces()] == ["00001-000000", "00002-000000"]


def test_the_number_of_rows_a_file_may_depend_on_the_work(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), lambda num_new: num_new // 2)
    assert [piece.num_rows for piece in output.pending()] == [5, 5]


def test_a_manifest_of_several_parts(tmp_path: Path, output: Output) -> None:
    num_rows = PART_ROWS + 1000
    lines = [f"s3://bucket/{number:06}.jpg,{number}" for number in range(num_rows)]
    (tmp_path / "list.csv").write_text("\n".join(["uri,etag", *lines]))
    output.plan(Source(uri=str(tmp_path / "list.csv")), 1000)
    pieces = output.pending()
    assert [piece.num_rows for piece in pieces] == [1000] * 66 + [536]
    assert len({piece.manifest_file for piece in pieces}) == 2
    for number in (0, 64, 65, 66):
        table = output.read_piece(pieces[number])
        assert table["etag"][0].as_py() == str(number * 1000)
        assert table.num_rows == pieces[number].num_rows


def test_only_the_rows_of_a_piece_can_be_committed_as_it(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), 5)
    one, two = output.pending()
    rows = rows_of(output.read_piece(one))
    with pytest.raises(ValueError, match="1 objects of the manifest have no row, 0 rows"):
        output.commit(one, rows.slice(1))
    with pytest.raises(ValueError, match="5 objects of the manifest have no row, 5 rows"):
        output.commit(two, rows)
    with pytest.raises(ValueError, match="expected rows of"):
        output.commit(one, rows.drop_columns(["width"]))
    assert output.pending() == [one, two]


def test_an_object_may_have_many_rows(lake: str, output: Output) -> None:
    """As the frames of a video do."""
    output.plan(Source(uri=lake), 100)
    (piece,) = output.pending()
    rows = rows_of(output.read_piece(piece))
    frames = [
        rows.set_column(
            0,
            ROW.field("id"),
            pa.array([row_id(row["uri"], row["etag"], frame) for row in rows.to_pylist()]),
        )
        for frame in (0, 1)
    ]
    assert output.commit(piece, pa.concat_tables(frames))


def test_a_row_that_is_there_twice_is_refused(lake: str, output: Output) -> None:
    output.plan(Source(uri=lake), 100)
    (piece,) = output.pending()
    rows = rows_of(output.read_piece(piece))
    with pytest.raises(ValueError, match="twice"):
        output.commit(piece, pa.concat_tables([rows, rows.slice(0, 1)]))
    assert not output.is_committed(piece)


def test_other_settings_are_refused_by_name(output: Output) -> None:
    again = Output.open(output.uri)
    again.bind(SETTINGS, ROW)
    with pytest.raises(UserError) as caught:
        again.bind({"models": [{"name": "ssd", "score": 0.3}], "views": {"width": 320}}, ROW)
    assert "models[0].score is 0.25 there, and 0.3 here" in str(caught.value)
    assert "views" not in str(caught.value)
    with pytest.raises(UserError, match="the schema of its rows"):
        again.bind(SETTINGS, LISTING)
    assert again.settings() == Settings(SETTINGS, ROW)


@pytest.mark.parametrize(
    ("found", "wanted", "phrases"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a is 1 there, and 2 here"]),
        ({"a": 1}, {}, ["a is only there"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b[1] is 2 there, and 3 here"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a is [1] there, and [1, 2] here"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
    ],
)
def test_what_differs(
    found: dict[str, object], wanted: dict[str, object], phrases: list[str]
) -> None:
    stored = Settings.from_bytes(Settings(found, None).to_bytes())
    assert differences(stored, Settings(wanted, None)) == phrases


def test_an_empty_source(new_root: Callable[[], str], output: Output) -> None:
    root = new_root()
    put(root, "a.txt", b"x")
    put(root, "b.txt", b"x")
    with pytest.raises(UserError, match=r"no images at .*, but 2 \.txt: .* --include"):
        output.plan(Source(uri=root), 4)
    with pytest.raises(UserError, match="there is nothing at"):
        output.plan(Source(uri=f"{root}/*.png"), 4)
    assert output.generations() == []


def test_there_is_no_output(new_root: Callable[[], str]) -> None:
    with pytest.raises(UserError, match="there is no output of Lakesight at"):
        Output.open(new_root()).settings()


def test_an_output_that_can_be_written_is_left_as_it_was(output: Output) -> None:
    before = [page["key"].to_pylist() for page in output.store.list(output.prefix)]
    output.check_writable()
    assert [page["key"].to_pylist() for page in output.store.list(output.prefix)] == before


def test_an_output_that_may_only_be_read(
    shared_bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.reader_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.reader_secret_key)
    with pytest.raises(ForbiddenError, match="no permission"):
        Output.open(f"s3://{shared_bucket}/forbidden").check_writable()


def test_an_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for name in ("file", "file/below"):
        with pytest.raises(UserError, match=f"{tmp_path}/file"):
            Output.open(str(tmp_path / name)).check_writable()


def test_a_store_without_conditional_writes_is_refused(tmp_path: Path) -> None:
    class Careless(LocalStore):
        """Creates over what exists, as rclone's S3 server does."""

        def create(self, key: str, data: bytes) -> bool:
            self.put(key, data)
            return True

    with pytest.raises(UserError, match="ignores If-None-Match"):
        Output(Careless(tmp_path), "").check_writable()


def test_no_credentials_in_anything_written(lake: str, output: Output, s3_server: S3Server) -> None:
    output.check_writable()
    output.plan(Source(uri=lake), 4)
    commit_all(output)
    output.record_run("r1", {"models": ["ssd"], "uri": lake})
    keys = [key for page in output.store.list(output.prefix) for key in page["key"].to_pylist()]
    assert len(keys) == 1 + 1 + 1 + 3 + 1
    for data in [pickle.dumps(output), *map(output.store.get, keys)]:
        for secret in s3_server.environment.values():
            assert secret == "us-east-1" or secret.encode() not in data


def test_runs_are_read_in_order(output: Output) -> None:
    assert output.runs() == []
    for run_id in ("20260102T000000Z-a", "20260101T000000Z-b"):
        output.record_run(run_id, {"run_id": run_id, "path": Path("x")})
    assert [run["run_id"] for run in output.runs()] == ["20260101T000000Z-b", "20260102T000000Z-a"]
