from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lakesight import query
from lakesight.errors import UserError
from tests.documented import DOCS


@pytest.fixture
def rows() -> pa.Table:
    halves = pa.array(np.array([0.5, -1.25, 2.0, 3.0, 65504.0, 0.0], dtype=np.float16))
    vectors = pa.FixedSizeListArray.from_arrays(halves, 2)
    return pa.table({"n": pa.array([1, 2, 3]), "vector": vectors, "uri": ["a", "b", "c"]})


@pytest.fixture
def dataset(rows: pa.Table, tmp_path: Path) -> ds.Dataset:
    pq.write_table(rows, tmp_path / "rows.parquet")
    return ds.dataset(tmp_path / "rows.parquet")


def test_selects_from_a_table_and_from_a_dataset(rows: pa.Table, dataset: ds.Dataset) -> None:
    connection = query.connect({"kept": rows, "stored": dataset})
    joined = query.select(
        connection, "SELECT kept.n, stored.uri FROM kept JOIN stored USING (n) ORDER BY n DESC"
    )
    assert joined.read_all().to_pydict() == {"n": [3, 2, 1], "uri": ["c", "b", "a"]}


@pytest.mark.parametrize("source", ["rows", "dataset"])
def test_float16_columns_arrive_as_the_same_numbers(
    source: str, request: pytest.FixtureRequest
) -> None:
    connection = query.connect({"rows": request.getfixturevalue(source)})
    read = query.select(connection, "SELECT vector FROM rows ORDER BY n").read_all()
    assert read["vector"].to_pylist() == [[0.5, -1.25], [2.0, 3.0], [65504.0, 0.0]]


def test_widening_reaches_into_lists_and_structs() -> None:
    inner = pa.struct([("weight", pa.float16()), ("name", pa.string())])
    table = pa.table(
        {"seen": pa.array([[{"weight": np.float16(0.5), "name": "x"}]], pa.list_(inner))}
    )
    widened = query.widen(table)
    assert widened.schema.field("seen").type.value_type.field("weight").type == pa.float32()
    assert widened.to_pylist() == [{"seen": [{"weight": 0.5, "name": "x"}]}]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY rows TO '{folder}/stolen.csv'",
        "CREATE TABLE other (n INTEGER)",
        "INSTALL httpfs",
        "ATTACH '{folder}/other.db'",
        "SET enable_external_access = true",
        "PRAGMA version",
        "SELECT 1; SELECT 2",
        "",
        "SELECT * FROM '{folder}/rows.parquet'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM dataset",
    ],
)
def test_only_reads_what_it_was_given(statement: str, dataset: ds.Dataset, tmp_path: Path) -> None:
    connection = query.connect({"rows": dataset})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError):
        query.select(connection, statement.format(folder=tmp_path)).read_all()
    assert sorted(tmp_path.iterdir()) == before


def test_the_lock_holds_below_us_too(dataset: ds.Dataset) -> None:
    connection = query.connect({"rows": dataset})
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        connection.execute("SET enable_external_access = true")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT width FROM rows", "width"),
        ("SELECT uri::INTEGER FROM rows", "'a'"),
        (
            "SELECT CASE WHEN i = 300000 THEN 'late' ELSE '1' END::INT FROM range(400000) t(i)",
            "late",
        ),
    ],
)
def test_mistakes_are_one_line(statement: str, says: str, dataset: ds.Dataset) -> None:
    with pytest.raises(UserError, match=says) as caught:
        query.select(query.connect({"rows": dataset}), statement).read_all()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "width > 640",
        "list_contains([d.label for d in detections], 'person')",
        "len([d for d in detections if d.label = 'person' AND d.score > 0.8]) >= 2",
        "uri LIKE '%/2024/%' -- this year's",
        "id IN (SELECT id FROM rows WHERE n > 3)",
    ],
)
def test_an_expression_is_taken(text: str) -> None:
    query.check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "width >",
        "1), (2",
        "1) FROM rows WHERE (1",
        "1) UNION SELECT (2",
        "1) LIMIT (2",
        "1) ORDER BY (2",
        "true; DROP TABLE rows",
        "true) --",
    ],
)
def test_more_or_less_than_an_expression_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        query.check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "width > 640 AND uri LIKE '%/2024/%' OR caption ILIKE 'a%'",
        "list_contains([d.label for d in detections], 'person')",
        "len([d for d in detections if d.label = 'person' AND d.score > 0.8]) >= 2",
        "classes[1].label IN ('dog', 'cat') AND NOT caption SIMILAR TO '.*tree'",
        "len([d for d in detections if list_contains([e.label for e in detections], d.label)]) > 1",
        "CASE WHEN width BETWEEN 1 AND 9 THEN true ELSE CAST(height AS INT) % 2 = 0 END",
    ],
)
def test_what_tells_rows_apart_is_a_condition_of_strangers(text: str) -> None:
    query.check_bounded(text)


@pytest.mark.parametrize(
    "text",
    [
        "length(repeat('x', 300000000)) > 0",
        "len(range(30000000)) > 0",
        "lpad('x', 300000000, 'y') = ''",
        "replace(replace(uri, 'a', 'aaaaaaaa'), 'a', 'aaaaaaaa') = ''",
        "width IN (SELECT n FROM rows)",
        "EXISTS (SELECT 1)",
        "row_number() OVER () > 3",
        "current_setting('memory_limit') = ''",
        "len([[[c for c in a] for b in a] for d in a]) > 0",
    ],
)
def test_what_could_take_long_is_no_condition_of_strangers(text: str) -> None:
    query.check_expression(text)
    with pytest.raises(UserError, match="SQL: "):
        query.check_bounded(text)


def test_the_docs_list_what_a_condition_of_strangers_may_use() -> None:
    """As the refusal says."""
    text = (DOCS / "serving.md").read_text()
    assert [name for name in query.BOUNDED if name[0].isalpha() and f"`{name}`" not in text] == []


def test_a_limited_connection_has_little_memory() -> None:
    connection = query.connect({}, limited=True)
    (limit, threads) = connection.execute(
        "SELECT current_setting('memory_limit'), current_setting('threads')"
    ).fetchall()[0]
    assert (limit, threads) == ("953.6 MiB", 2)
    with pytest.raises(duckdb.Error, match="locked"):
        connection.execute("SET memory_limit = '9GB'")


def test_what_takes_too_long_is_stopped(rows: pa.Table) -> None:
    connection = query.connect({"rows": rows})
    endless = "SELECT count(*) FROM range(10000000000) a, range(10000) b"
    with (
        pytest.raises(UserError, match=r"SQL: it took longer than 0\.05 s"),
        query.within(connection, 0.05),
    ):
        query.select(connection, endless).read_all()
    with query.within(connection, 60):
        assert query.select(connection, "SELECT n FROM rows").read_all().num_rows == 3
    with pytest.raises(UserError, match="colour"), query.within(connection, 60):
        query.select(connection, "SELECT colour FROM rows")
