"""Lists of URIs in text, CSV or Parquet. Read as a stream; memory holds a digest per URI."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lakesight.errors import UserError
from lakesight.lake.inventory import read_inventory
from lakesight.lake.store import ENTRIES, ForbiddenError, NoBucketError, Store
from lakesight.lake.uris import canonical
from lakesight.schemas import WORDS

MISSING = "missing"
"""The etag of an object of a list that does not exist; its fetch will say so."""
OUT_OF_REACH = "out of reach"
"""The etag of an object that may not be looked at: its fetch will say why."""
URI_COLUMNS = ("uri", "url", "path")
BELIEVED = {"etag": pa.string(), "size": pa.int64(), "modified": pa.timestamp("us", tz="UTC")}
BATCH_ROWS = 8192
HEADS_IN_FLIGHT = 32
_UNKNOWN = dict.fromkeys(BELIEVED)


def is_list(key: str) -> bool:
    """Return whether an object of that name is a list rather than something to look at."""
    path = PurePosixPath(key)
    return path.suffix.lower() in {".txt", ".csv", ".parquet"} or path.name == "manifest.json"


def read_list(store: Store, key: str, words: Sequence[str] = ()) -> tuple[Iterator[pa.Table], bool]:
    """Return the objects that a list names, each once, as tables of `ENTRIES` whose key is the URI.

    Of the columns `words` (of `schemas.WORDS`) those that the list has come along. Also return
    whether to pick the images among them: only from an inventory, which names all. Raises UserError
    for a list without a column of URIs, for words of another type, and for an object that is there
    twice, with other words.
    """
    if key.endswith(".json"):
        return _once(read_inventory(store.get(key)), store.uri(key)), True
    readers = {".txt": _text, ".csv": _csv, ".parquet": _parquet}
    batches = readers[PurePosixPath(key).suffix.lower()](store, key, words)
    entries = map(partial(_entries, where=store.uri(key), words=words), batches)
    return _once(entries, store.uri(key)), False


def words_of(uri: str) -> list[str]:
    """Return which columns of `schemas.WORDS` a list has; none of a source that is no list."""
    store, key = Store.open(uri)
    read = {".csv": _csv, ".parquet": _parquet}.get(PurePosixPath(key).suffix.lower())
    if read is None or store.head(key) is None:
        return []
    first = next(read(store, key, WORDS.names), None)
    return [] if first is None else [name for name in WORDS.names if name in first.column_names]


def _text(store: Store, key: str, words: Sequence[str]) -> Iterator[pa.Table]:  # noqa: ARG001
    batch: list[str] = []
    try:
        with io.TextIOWrapper(store.reader(key), encoding="utf-8-sig") as lines:
            for line in lines:
                batch.append(line.strip())
                if len(batch) == BATCH_ROWS:
                    yield pa.table({"uri": batch})
                    batch = []
    except UnicodeDecodeError as error:
        raise UserError(f"{store.uri(key)} is no text in UTF-8: {error}") from None
    yield pa.table({"uri": pa.array(batch, pa.string())})


def _csv(store: Store, key: str, words: Sequence[str]) -> Iterator[pa.Table]:
    types = dict.fromkeys([*URI_COLUMNS, *words], pa.string()) | BELIEVED
    convert = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        with store.reader(key) as file:
            source = pa.PythonFile(file, "r")
            yield from map(pa.table, pyarrow.csv.open_csv(source, None, parse, convert))
    except pa.ArrowInvalid as error:
        raise UserError(f"{store.uri(key)} is no CSV list of URIs: {error}") from None


def _parquet(store: Store, key: str, words: Sequence[str]) -> Iterator[pa.Table]:
    try:
        with store.reader(key) as file, pq.ParquetFile(pa.PythonFile(file, "r")) as parquet:
            names = parquet.schema_arrow.names
            wanted = {_uri_column(names, store.uri(key)), *BELIEVED, *words}.intersection(names)
            yield from map(pa.table, parquet.iter_batches(BATCH_ROWS, columns=list(wanted)))
    except pa.ArrowInvalid as error:
        raise UserError(f"{store.uri(key)} is no Parquet list of URIs: {error}") from None


def _entries(batch: pa.Table, where: str, words: Sequence[str]) -> pa.Table:
    """Return a batch of a list as `ENTRIES`, and its words.

    For what has no etag there, the store is asked.
    """
    batch = batch.rename_columns({_uri_column(batch.column_names, where): "uri"})
    rows = [{**_UNKNOWN, **row} for row in batch.to_pylist() if row["uri"]]
    for row in rows:
        row["key"] = row["uri"] = canonical(str(row["uri"]))
        row["etag"] = row["etag"] and row["etag"].strip('"')  # boto3 gives it in its quotes
    unknown = [row for row in rows if row["etag"] is None]
    for row, entry in zip(unknown, _heads([row["uri"] for row in unknown]), strict=True):
        row.update(entry)
    brought = [WORDS.field(name) for name in words if name in batch.column_names]
    for field in brought:
        _check_words(batch.schema.field(field.name), where)
        for row in rows:
            row[field.name] = _as_words(row[field.name], field)
    return pa.Table.from_pylist(rows, schema=pa.schema([*ENTRIES, *brought]))


def _check_words(found: pa.Field, where: str) -> None:
    """Raise UserError for a column whose values are no words."""
    many = pa.types.is_list(found.type) or pa.types.is_large_list(found.type)
    value = found.type.value_type if many else found.type
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value)
    wanted = {"prompt": "text", "questions": "text or lists of it"}.get(found.name, "lists of text")
    fits = many if wanted == "lists of text" else wanted != "text" or not many
    if not pa.types.is_null(value) and not (is_text and fits):
        raise UserError(
            f"{where} has a column {found.name} of type {found.type}: expected {wanted}"
            + (", which a Parquet file can hold" if "lists" in wanted else "")
        )


def _as_words(value: Any, field: pa.Field) -> Any:
    """Return a value as its column wants it: one question is a list of one."""
    return [value] if isinstance(value, str) and pa.types.is_list(field.type) else value


def _heads(uris: list[str]) -> Iterable[dict[str, Any]]:
    """Ask for objects, so many at a time, and keep their order."""
    if not uris:
        return []
    with ThreadPoolExecutor(HEADS_IN_FLIGHT) as pool:
        return list(pool.map(_head, uris))


def _head(uri: str) -> dict[str, Any]:
    store, key = Store.open(uri)
    try:
        entry = store.head(key) if key else None
    except (ForbiddenError, NoBucketError):
        return {"etag": OUT_OF_REACH}
    return entry._asdict() if entry else {"etag": MISSING}


def _uri_column(names: list[str], where: str) -> str:
    for name in URI_COLUMNS:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise UserError(f"{where} has no column uri, url or path; it has {', '.join(names)}")


def _once(pages: Iterable[pa.Table], where: str) -> Iterator[pa.Table]:
    """Drop every URI that an earlier row had; remembers 16 bytes a URI, and 8 for its words.

    Raises UserError for a URI that comes again with other words: neither would be right.
    """
    seen: dict[bytes, int] = {}
    for page in pages:
        mask = []
        words = page.select([name for name in WORDS.names if name in page.column_names])
        said = [hash(str(row)) for row in words.to_pylist()] or [0] * page.num_rows
        for uri, told in zip(page["uri"].to_pylist(), said, strict=True):
            digest = hashlib.blake2b(uri.encode(), digest_size=16).digest()
            mask.append(digest not in seen)
            if seen.setdefault(digest, told) != told:
                raise UserError(
                    f"{where} names {uri} twice, with other words: give each picture one row, and "
                    "its questions as one list"
                )
        yield page.filter(pa.array(mask, pa.bool_()))
