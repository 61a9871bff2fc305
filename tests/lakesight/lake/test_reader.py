"""`lakesight.open`, and what Polars and DuckDB see of the same files."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.schemas import ROW, detection_type, embedding_type, output_schema
from tests.committing import commit_all, rows_of

Versions = list[tuple[str, str]]


@pytest.fixture
def output(new_root: Callable[[], str]) -> Output:
    output = Output.open(new_root())
    output.bind({"model": "none"}, ROW)
    return output


def plan(output: Output, folder: Path, versions: dict[str, str]) -> None:
    lines = [f"s3://bucket/{name},{etag}" for name, etag in versions.items()]
    (folder / "list.csv").write_text("\n".join(["uri,etag", *lines]))
    output.plan(Source(uri=str(folder / "list.csv")), 2)


def seen(rows: pa.Table) -> Versions:
    pairs = zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True)
    return sorted((uri.rpartition("/")[2], etag) for uri, etag in pairs)


def latest(output: Output) -> Versions:
    return seen(lakesight.open(output.uri).latest().read_all())


def test_everyone_sees_the_same_rows(output: Output, tmp_path: Path) -> None:
    plan(output, tmp_path, {f"{number}.jpg": "A" for number in range(5)})
    commit_all(output)
    lake = lakesight.open(output.uri)
    expected = [(f"{number}.jpg", "A") for number in range(5)]
    assert lake.settings == {"model": "none"}
    assert lake.count() == 5
    assert lake.dataset().schema == ROW
    assert seen(lake.dataset().to_table()) == expected
    assert seen(lake.latest().read_all()) == expected
    assert lake.superseded().num_rows == 0
    assert len(lake.files()) == 3
    scanned = pl.scan_parquet(lake.files(), storage_options=lake.storage_options()).collect()
    assert seen(scanned.to_arrow()) == expected
    rows = lake.dataset()
    assert duckdb.execute("SELECT count(DISTINCT id) FROM rows").fetchall() == [(5,)]
    assert isinstance(rows, ds.Dataset)


def test_duckdb_reads_the_file_list_of_a_folder(tmp_path: Path) -> None:
    output = Output.open(str(tmp_path / "out put"))
    output.bind({}, ROW)
    plan(output, tmp_path, {f"{number}.jpg": "A" for number in range(5)})
    commit_all(output)
    files = lakesight.open(output.uri).files()
    counted = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchall()
    assert counted == [(5,)]
    globbed = duckdb.execute(
        "SELECT count(*) FROM read_parquet(?)", [f"{tmp_path}/out put/data/*.parquet"]
    )
    assert globbed.fetchall() == [(5,)]


def test_only_what_is_committed_is_seen(output: Output, tmp_path: Path) -> None:
    plan(output, tmp_path, {f"{number}.jpg": "A" for number in range(4)})
    piece = output.pending()[1]
    output.commit(piece, rows_of(output.read_piece(piece)))
    output.store.put(output.data_key("00009-000000"), b"not ours: no generation names it")
    output.store.put(output.data_key("stranger"), b"not ours")
    lake = lakesight.open(output.uri)
    assert seen(lake.dataset().to_table()) == [("2.jpg", "A"), ("3.jpg", "A")]
    assert output.committed() == ["00001-000001", "00009-000000"]


def test_latest_shows_a_changed_object_once(output: Output, tmp_path: Path) -> None:
    plan(output, tmp_path, {"a.jpg": "A", "b.jpg": "A", "c.jpg": "A"})
    commit_all(output)
    plan(output, tmp_path, {"a.jpg": "B", "b.jpg": "A", "d.jpg": "A"})
    assert latest(output) == [("b.jpg", "A"), ("c.jpg", "A")], "listed, and not yet looked at"
    commit_all(output)
    assert latest(output) == [("a.jpg", "B"), ("b.jpg", "A"), ("c.jpg", "A"), ("d.jpg", "A")]
    assert seen(lakesight.open(output.uri).superseded()) == [("a.jpg", "A")]
    assert lakesight.open(output.uri).count() == 5


def test_latest_gives_few_rows_at_once(new_root: Callable[[], str], tmp_path: Path) -> None:
    features = pa.list_(pa.list_(pa.float16(), 3), 2)
    schema = output_schema(
        [pa.field("embedding", embedding_type(2)), pa.field("features", features)]
    )
    output = Output.open(new_root())
    output.bind({}, schema)
    for versions in ({f"{n}.jpg": "A" for n in range(5)}, {"1.jpg": "B", "4.jpg": "A"}):
        lines = [f"s3://bucket/{name},{etag}" for name, etag in versions.items()]
        (tmp_path / "list.csv").write_text("\n".join(["uri,etag", *lines]))
        output.plan(Source(uri=str(tmp_path / "list.csv")), 4)
        for piece in output.pending():
            rows = rows_of(output.read_piece(piece))
            for name, value in {"embedding": [0.5, 1.0], "features": [[1, 2, 3]] * 2}.items():
                field, known = schema.field(name), [value] * (rows.num_rows - 1)
                rows = rows.append_column(field, pa.array([*known, None], field.type))
            output.commit(piece, rows)
    lake = lakesight.open(output.uri)
    whole = lake.latest().read_all()
    assert seen(whole) == [(f"{n}.jpg", "B" if n == 1 else "A") for n in range(5)]
    stream = lake.latest(max_rows=3)
    assert stream.schema == schema
    batches = list(stream)
    assert [batch.num_rows for batch in batches] == [2, 1, 1, 1]  # the first lost 1.jpg of old
    assert pa.Table.from_batches(batches).equals(whole)
    names = ["features", "uri", "etag"]
    some = list(lake.latest(names, max_rows=1))
    assert [batch.schema.names for batch in some] == [names] * len(some)
    assert pa.Table.from_batches(some).equals(whole.select(names))


def test_latest_follows_an_object_back(output: Output, tmp_path: Path) -> None:
    """A -> B -> A -> C -> B."""
    for etag, num_rows in (("A", 2), ("B", 3), ("A", 3), ("C", 4), ("B", 4)):
        plan(output, tmp_path, {"a.jpg": etag, "b.jpg": "A"})
        commit_all(output)
        assert latest(output) == [("a.jpg", etag), ("b.jpg", "A")]
        assert lakesight.open(output.uri).count() == num_rows


def test_an_output_without_rows_has_its_schema(new_root: Callable[[], str]) -> None:
    schema = output_schema(
        [
            pa.field("detections", detection_type(keypoints=True)),
            pa.field("embedding", embedding_type(8)),
        ]
    )
    output = Output.open(new_root())
    output.bind({}, schema)
    lake = lakesight.open(output.uri)
    assert lake.files() == []
    assert lake.count() == 0
    assert lake.dataset().schema == schema
    assert lake.latest().read_all().schema == schema


def test_nested_columns_come_back_as_they_were(new_root: Callable[[], str], tmp_path: Path) -> None:
    schema = output_schema(
        [pa.field("detections", detection_type()), pa.field("embedding", embedding_type(2))]
    )
    output = Output.open(new_root())
    output.bind({}, schema)
    plan(output, tmp_path, {"a.jpg": "A", "b.jpg": "A"})
    (piece,) = output.pending()
    detection = {"box": [1.0, 2.0, 3.0, 4.0], "score": 0.5, "class_id": 3, "label": "bus"}
    rows = rows_of(output.read_piece(piece))
    values = {"detections": [[detection], []], "embedding": [[0.5, 1.0], None]}
    for name, column in values.items():
        field = schema.field(name)
        rows = rows.append_column(field, pa.array(column, field.type))
    assert output.commit(piece, rows)
    lake = lakesight.open(output.uri)
    polars = pl.read_parquet(lake.files(), storage_options=lake.storage_options())
    assert polars["embedding"].to_list() == values["embedding"]
    assert lake.dataset().to_table() == rows


def test_there_is_no_output(new_root: Callable[[], str]) -> None:
    with pytest.raises(UserError, match="there is no output of Lakesight at"):
        lakesight.open(new_root())
