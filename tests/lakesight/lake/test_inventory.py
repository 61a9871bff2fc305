"""S3 Inventory as AWS documents it; https://docs.aws.amazon.com/AmazonS3/latest/userguide/."""

import gzip
import io
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakesight.errors import UserError
from lakesight.lake.source import Source
from lakesight.lake.store import Store

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = ["a b.jpg", "ö+%.png", "notes.txt"]


def manifest(bucket: str, kind: str, schema: str, files: list[str]) -> bytes:
    document: dict[str, Any] = {
        "sourceBucket": "photos",
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "version": "2016-11-30",
        "creationTimestamp": "1767323045000",
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [{"key": key, "size": 1, "MD5checksum": "0" * 32} for key in files],
    }
    return json.dumps(document).encode()


def csv_file(rows: list[list[str]]) -> bytes:
    text = "\n".join(",".join(f'"{value}"' for value in row) for row in rows)
    return gzip.compress(text.encode())


def listed(bucket: str) -> list[dict[str, Any]]:
    source = Source(uri=f"s3://{bucket}/inventory/manifest.json")
    return [row for page in source.list() for row in page.to_pylist()]


def test_csv(shared_bucket: str) -> None:
    bucket = shared_bucket
    store, _ = Store.open(f"s3://{bucket}")
    for number, keys in enumerate((KEYS[:2], KEYS[2:])):
        rows = [["photos", quote_plus(key), "7", "2026-01-02T03:04:05.000Z", "abc"] for key in keys]
        store.put(f"inventory/data/{number}.csv.gz", csv_file(rows))
    files = [f"inventory/data/{number}.csv.gz" for number in range(2)]
    schema = "Bucket, Key, Size, LastModifiedDate, ETag"
    store.put("inventory/manifest.json", manifest(bucket, "CSV", schema, files))
    assert listed(bucket) == [
        {"uri": f"s3://photos/{key}", "etag": "abc", "size": 7, "modified": WHEN}
        for key in KEYS[:2]
    ]


def test_old_versions_and_delete_markers_are_left_out(shared_bucket: str) -> None:
    bucket = shared_bucket
    store, _ = Store.open(f"s3://{bucket}")
    rows = [
        ["photos", "now.jpg", "v2", "true", "false", "7", "2026-01-02T03:04:05.000Z", "abc"],
        ["photos", "now.jpg", "v1", "false", "false", "7", "2026-01-02T03:04:05.000Z", "old"],
        ["photos", "gone.jpg", "v3", "true", "true", "", "2026-01-02T03:04:05.000Z", ""],
    ]
    store.put("data.csv.gz", csv_file(rows))
    schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
    store.put("inventory/manifest.json", manifest(bucket, "CSV", schema, ["data.csv.gz"]))
    assert [(row["uri"], row["etag"]) for row in listed(bucket)] == [("s3://photos/now.jpg", "abc")]


def test_parquet(shared_bucket: str) -> None:
    bucket = shared_bucket
    store, _ = Store.open(f"s3://{bucket}")
    table = pa.table(
        {
            "bucket": ["photos"] * 3,
            "key": KEYS,
            "size": pa.array([7] * 3, pa.int64()),
            "last_modified_date": pa.array([WHEN] * 3, pa.timestamp("ms")),
            "e_tag": ["abc"] * 3,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put("data.parquet", buffer.getvalue())
    schema = "message s3.inventory { required binary bucket (UTF8); optional binary e_tag (UTF8);}"
    store.put("inventory/manifest.json", manifest(bucket, "Parquet", schema, ["data.parquet"]))
    assert listed(bucket) == [
        {"uri": f"s3://photos/{key}", "etag": "abc", "size": 7, "modified": WHEN}
        for key in KEYS[:2]
    ]


@pytest.mark.parametrize("content", [b"[]", b"{}", b"no json", b'{"name": "a web app"}'])
def test_another_manifest(shared_bucket: str, content: bytes) -> None:
    bucket = shared_bucket
    Store.open(f"s3://{bucket}")[0].put("inventory/manifest.json", content)
    with pytest.raises(UserError, match=r"manifest\.json of an S3 Inventory"):
        listed(bucket)


def test_an_inventory_without_etags(shared_bucket: str) -> None:
    bucket = shared_bucket
    content = manifest(bucket, "CSV", "Bucket, Key", [])
    Store.open(f"s3://{bucket}")[0].put("inventory/manifest.json", content)
    with pytest.raises(UserError, match="no ETag"):
        listed(bucket)
