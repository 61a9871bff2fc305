"""S3 Inventory: the listing of a bucket that S3 itself writes, in CSV or Parquet.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from lakesight.errors import UserError
from lakesight.lake.store import ENTRIES, Store

PARQUET_NAMES = {
    "Bucket": "bucket",
    "Key": "key",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
}


def read_inventory(manifest: bytes) -> Iterator[pa.Table]:
    """Yield the objects of an inventory as tables of `ENTRIES` whose key is the URI.

    Old versions and delete markers are left out. Raises UserError for what is no such manifest.
    """
    try:
        inventory = json.loads(manifest)
        schema, bucket = inventory["fileSchema"], inventory["destinationBucket"].rpartition(":")[2]
        files = [file["key"] for file in inventory["files"]]
        read = {"CSV": _csv, "Parquet": _parquet}[inventory["fileFormat"]]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            "expected the manifest.json of an S3 Inventory in CSV or Parquet, got something else"
        ) from None
    if "ETag" not in schema and "e_tag" not in schema:
        raise UserError("the S3 Inventory has no ETag: add it to the inventory's optional fields")
    store, _ = Store.open(f"s3://{bucket}")
    for key in files:
        for batch in read(store, key, schema):
            yield _entries(batch)


def _csv(store: Store, key: str, schema: str) -> Iterator[pa.Table]:
    """In CSV there is no header, and keys are percent-encoded."""
    names = [PARQUET_NAMES.get(name.strip(), name.strip()) for name in schema.split(",")]
    options = pyarrow.csv.ReadOptions(column_names=names)
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    with store.reader(key) as packed, gzip.GzipFile(fileobj=packed) as file:
        for batch in pyarrow.csv.open_csv(pa.PythonFile(file, "r"), options, None, convert):
            page = pa.table(batch)
            keys = pa.array(map(unquote_plus, page["key"].to_pylist()), pa.string())
            yield page.set_column(page.column_names.index("key"), "key", keys)


def _parquet(store: Store, key: str, schema: str) -> Iterator[pa.Table]:  # noqa: ARG001
    with store.reader(key) as file, pq.ParquetFile(pa.PythonFile(file, "r")) as parquet:
        yield from map(pa.table, parquet.iter_batches())


def _entries(page: pa.Table) -> pa.Table:
    for name in ("is_latest", "is_delete_marker"):
        if name in page.column_names:
            wanted = "true" if name == "is_latest" else "false"
            page = page.filter(pc.equal(pc.utf8_lower(page[name].cast(pa.string())), wanted))
    uris = pc.binary_join_element_wise("s3:/", page["bucket"], page["key"], "/")
    columns: list[Any] = [uris, uris]
    for name, field in zip(("e_tag", "size", "last_modified_date"), list(ENTRIES)[2:], strict=True):
        known = name in page.column_names
        columns.append(page[name].cast(field.type) if known else pa.nulls(len(page), field.type))
    return pa.table(columns, schema=ENTRIES)
