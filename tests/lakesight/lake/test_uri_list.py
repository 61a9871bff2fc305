from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakesight.errors import UserError
from lakesight.lake.source import Source
from lakesight.lake.store import Store
from lakesight.lake.uri_list import MISSING, OUT_OF_REACH, words_of
from lakesight.lake.uris import file_uri
from lakesight.schemas import LISTING, WORDS


def rows(uri: str, **options: tuple[str, ...]) -> list[dict[str, Any]]:
    return [row for page in Source(uri=uri, **options).list() for row in page.to_pylist()]


def etags(uri: str) -> dict[str, str]:
    return {row["uri"]: row["etag"] for row in rows(uri)}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a b.jpg", 'ö,"x".jpg', "plain", "100%.jpg")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def as_text(path: Path, uris: list[str]) -> Path:
    path = path.with_suffix(".txt")
    path.write_text("\n".join(uris) + "\n\n")
    return path


def as_csv(path: Path, uris: list[str]) -> Path:
    path = path.with_suffix(".csv")
    quoted = ['"' + uri.replace('"', '""') + '"' for uri in uris]
    path.write_text("\n".join(["uri", *quoted]))
    return path


def as_parquet(path: Path, uris: list[str]) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.table({"uri": uris}), path)
    return path


@pytest.mark.parametrize("write", [as_text, as_csv, as_parquet])
def test_a_list_is_taken_whole_and_each_object_once(
    tmp_path: Path, photos: list[Path], write: Callable[[Path, list[str]], Path]
) -> None:
    gone = tmp_path / "gone.jpg"
    uris = [*map(str, photos), file_uri(photos[0]), str(photos[1]), str(gone)]
    found = etags(str(write(tmp_path / "list", uris)))
    assert list(found) == [*map(file_uri, photos), file_uri(gone)]
    assert found.pop(file_uri(gone)) == MISSING
    for path in photos:
        entry = Store.open(str(path))[0].head(path.name)
        assert entry is not None
        assert found[file_uri(path)] == entry.etag


@pytest.mark.parametrize("column", ["uri", "url", "path", "anything"])
def test_the_column_of_uris(tmp_path: Path, photos: list[Path], column: str) -> None:
    table = pa.table({column: [str(path) for path in photos]})
    pq.write_table(table, tmp_path / "list.parquet")
    assert len(etags(str(tmp_path / "list.parquet"))) == len(photos)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_without_a_column_of_uris(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    if suffix == ".csv":
        path.write_text("name,size\na,1\n")
    else:
        pq.write_table(pa.table({"name": ["a"], "size": [1]}), path)
    with pytest.raises(UserError, match="no column uri, url or path; it has name, size"):
        rows(str(path))


def test_etags_may_come_in_quotes(tmp_path: Path) -> None:
    table = pa.table({"uri": ["s3://bucket/a.jpg"], "etag": ['"0123"'], "size": [3]})
    pq.write_table(table, tmp_path / "list.parquet")
    assert etags(str(tmp_path / "list.parquet")) == {"s3://bucket/a.jpg": "0123"}


def test_what_may_not_be_looked_at_stops_no_list(tmp_path: Path, shared_bucket: str) -> None:
    path = as_text(tmp_path / "list", [f"s3://{shared_bucket}-gone/a.jpg"])
    assert [row["etag"] for row in rows(str(path))] in ([OUT_OF_REACH], [MISSING])


@pytest.mark.parametrize("write", [as_text, as_csv])
def test_a_byte_order_mark_is_no_part_of_a_uri(
    tmp_path: Path, photos: list[Path], write: Callable[[Path, list[str]], Path]
) -> None:
    path = write(tmp_path / "list", [str(photo) for photo in photos])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [row["uri"] for row in rows(str(path))] == [photo.as_uri() for photo in photos]


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.parquet"])
def test_what_is_no_list(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\n,,,\n,")
    with pytest.raises(UserError):
        rows(str(tmp_path / name))


def test_what_a_list_says_is_believed(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    row = {"uri": "s3://no-such-bucket/a.jpg", "etag": "abc", "size": 7, "modified": when}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "list.parquet")
    assert rows(str(tmp_path / "list.parquet")) == [row]
    (tmp_path / "list.csv").write_text(
        "etag,uri,size,modified\nabc,s3://no-such-bucket/a.jpg,7,2026-01-02T03:04:05Z\n"
    )
    assert rows(str(tmp_path / "list.csv")) == [row]


def test_a_list_in_a_bucket_of_objects_in_a_bucket(shared_bucket: str) -> None:
    store, _ = Store.open(f"s3://{shared_bucket}")
    keys = [f"p/{number:03} ö%20.jpg" for number in range(100)]
    for key in keys:
        store.put(key, key.encode())
    store.put("list.txt", "\r\n".join([*map(store.uri, keys), store.uri("gone.jpg")]).encode())
    found = etags(f"s3://{shared_bucket}/list.txt")
    assert list(found) == [*map(store.uri, keys), store.uri("gone.jpg")]
    assert [uri for uri, etag in found.items() if etag == MISSING] == [store.uri("gone.jpg")]


def test_globs_of_a_list_match_whole_uris(tmp_path: Path, photos: list[Path]) -> None:
    path = as_text(tmp_path / "list", [str(photo) for photo in photos])
    assert [row["uri"] for row in rows(str(path), exclude=("*.jpg",))] == [file_uri(photos[2])]


def test_credentials_in_a_list_are_refused(tmp_path: Path) -> None:
    path = as_text(tmp_path / "list", ["s3://AKIA:hush@bucket/a.jpg"])
    with pytest.raises(UserError) as caught:
        rows(str(path))
    assert "hush" not in str(caught.value)


ALL = tuple(WORDS.names)
SAID: list[dict[str, Any]] = [
    {"prompt": "a photo of", "questions": ["a?", "b?"], "candidates": ["yes", "no"]},
    {"prompt": None, "questions": [], "candidates": None},
    {"prompt": None, "questions": None, "candidates": ["two"]},
]


def listing(table: pa.Table, path: Path) -> str:
    """Write a list of `s3://bucket/0.jpg` and so on, with columns beside; return its path."""
    uris = [f"s3://no-such-bucket/{number}.jpg" for number in range(table.num_rows)]
    whole = {"uri": uris, "etag": uris, **dict(zip(table.column_names, table.columns, strict=True))}
    pq.write_table(pa.table(whole), path)
    return str(path)


def said(uri: str, words: tuple[str, ...] = ALL) -> list[dict[str, Any]]:
    return [{name: row.get(name) for name in ALL} for row in rows(uri, words=words)]


def test_a_list_brings_words_along_where_they_are_asked_for(tmp_path: Path) -> None:
    uri = listing(pa.Table.from_pylist(SAID, WORDS), tmp_path / "list.parquet")
    assert said(uri) == SAID
    assert said(uri, ("prompt",)) == [
        {"prompt": row["prompt"], "questions": None, "candidates": None} for row in SAID
    ]
    assert set(rows(uri)[0]) == set(LISTING.names)
    assert words_of(uri) == [*ALL]


def test_one_question_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "uri,etag,questions,prompt\n"
        's3://no-such-bucket/a.jpg,1,"is it red, or blue?",\n'
        "s3://no-such-bucket/b.jpg,2,,a photo of\n"
    )
    assert said(str(path)) == [
        {"prompt": None, "questions": ["is it red, or blue?"], "candidates": None},
        {"prompt": "a photo of", "questions": None, "candidates": None},
    ]
    assert words_of(str(path)) == ["prompt", "questions"]
    table = pa.table({"questions": pa.array(["a?", None], pa.large_string())})
    uri = listing(table, tmp_path / "list.parquet")
    assert [row["questions"] for row in said(uri)] == [["a?"], None]


@pytest.mark.parametrize(
    ("column", "values", "wanted"),
    [
        ("prompt", [7], "of type int64: expected text$"),
        ("prompt", [["a"]], "expected text$"),
        ("questions", [[7]], "expected text or lists of it"),
        ("candidates", ["yes"], "expected lists of text, which a Parquet file can hold"),
    ],
)
def test_words_are_words(tmp_path: Path, column: str, values: list[Any], wanted: str) -> None:
    uri = listing(pa.table({column: values}), tmp_path / "list.parquet")
    with pytest.raises(UserError, match=wanted):
        rows(uri, words=ALL)
    assert len(rows(uri)) == 1  # nobody asked


def test_a_picture_cannot_be_asked_in_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    again = "s3://no-such-bucket/a.jpg,1,{}\n"
    path.write_text("uri,etag,questions\n" + again.format("a?") + again.format("a?"))
    assert len(rows(str(path), words=ALL)) == 1
    path.write_text("uri,etag,questions\n" + again.format("a?") + again.format("b?"))
    with pytest.raises(
        UserError, match=r"a\.jpg twice, with other words: give each picture one row"
    ):
        rows(str(path), words=ALL)
    assert len(rows(str(path))) == 1


def test_what_is_no_list_has_no_words(tmp_path: Path, photos: list[Path]) -> None:
    text = as_text(tmp_path / "list", [str(photos[0])])
    for uri in (tmp_path, photos[0], text, tmp_path / "gone.csv", tmp_path / "*.parquet"):
        assert words_of(str(uri)) == []
