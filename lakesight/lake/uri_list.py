"""Lists of URIs in text, CSV or Parquet. Read as a stream; memory holds a digest per URI."""

import hashlib
import io
from collections.abc import Iterable, Iterator
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


def read_list(store: Store, key: str) -> tuple[Iterator[pa.Table], bool]:
    """Return the objects that a list names, each once, as tables of `ENTRIES` whose key is the URI.

    Also return whether to pick the images among them: only from an inventory, which names all.
    Raises UserError for a list without a column of URIs.
    """
    if key.endswith(".json"):
        return _once(read_inventory(store.get(key))), True
    readers = {".txt": _text, ".csv": _csv, ".parquet": _parquet}
    batches = readers[PurePosixPath(key).suffix.lower()](store, key)
    return _once(map(partial(_entries, where=store.uri(key)), batches)), False


def _text(store: Store, key: str) -> Iterator[pa.Table]:
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


def _csv(store: Store, key: str) -> Iterator[pa.Table]:
    types = dict.fromkeys(URI_COLUMNS, pa.string()) | BELIEVED
    convert = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        with store.reader(key) as file:
            source = pa.PythonFile(file, "r")
            yield from map(pa.table, pyarrow.csv.open_csv(source, None, parse, convert))
    except pa.ArrowInvalid as error:
        raise UserError(f"{store.uri(key)} is no CSV list of URIs: {error}") from None


def _parquet(store: Store, key: str) -> Iterator[pa.Table]:
    try:
        with store.reader(key) as file, pq.ParquetFile(pa.PythonFile(file, "r")) as parquet:
            names = parquet.schema_arrow.names
            wanted = {_uri_column(names, store.uri(key)), *BELIEVED}.intersection(names)
            yield from map(pa.table, parquet.iter_batches(BATCH_ROWS, columns=list(wanted)))
    except pa.ArrowInvalid as error:
        raise UserError(f"{store.uri(key)} is no Parquet list of URIs: {error}") from None


def _entries(batch: pa.Table, where: str) -> pa.Table:
    """Return a batch of a list as `ENTRIES`; for what has no etag there, the store is asked."""
    batch = batch.rename_columns({_uri_column(batch.column_names, where): "uri"})
    rows = [{**_UNKNOWN, **row} for row in batch.to_pylist() if row["uri"]]
    for row in rows:
        row["key"] = row["uri"] = canonical(str(row["uri"]))
        row["etag"] = row["etag"] and row["etag"].strip('"')  # boto3 gives it in its quotes
    unknown = [row for row in rows if row["etag"] is None]
    for row, entry in zip(unknown, _heads([row["uri"] for row in unknown]), strict=True):
        row.update(entry)
    return pa.Table.from_pylist(rows, schema=ENTRIES)


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


def _once(pages: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Drop every URI that an earlier row had; remembers 16 bytes a URI."""
    seen: set[bytes] = set()
    for page in pages:
        mask = []
        for uri in page["uri"].to_pylist():
            digest = hashlib.blake2b(uri.encode(), digest_size=16).digest()
            mask.append(digest not in seen)
            seen.add(digest)
        yield page.filter(pa.array(mask, pa.bool_()))
