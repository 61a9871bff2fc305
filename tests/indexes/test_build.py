import hashlib
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from indexes import build as build_module
from indexes.build import INDEX, POSITION, row_schema
from lakesight.schemas import CLASSES, detection_type, embedding_type, is_vector
from tests.indexing import build, rows_of, unit


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_stored_vectors_are_kept_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    vectors = unit(500, 24, dtype)
    builder = build(tmp_path, rows_of(vectors))
    assert builder.storage == dtype
    builder.finish()
    index = faiss.read_index(str(tmp_path / INDEX))
    kept = index.reconstruct_n(0, 500)
    assert np.array_equal(kept, vectors.astype(np.float32))


def test_float16_takes_half_the_bytes(tmp_path: Path) -> None:
    sizes = {}
    for dtype in ("float16", "float32"):
        (tmp_path / dtype).mkdir()
        _, files = build(tmp_path / dtype, rows_of(unit(200, 64, dtype))).finish()
        sizes[dtype] = files[INDEX].size
    header = 100
    assert 200 * 64 * 2 < sizes["float16"] < 200 * 64 * 2 + header
    assert 200 * 64 * 4 < sizes["float32"] < 200 * 64 * 4 + header


def test_rows_lie_in_the_order_of_the_index(tmp_path: Path) -> None:
    rows = rows_of(unit(250, 8))
    build(tmp_path, rows).finish()
    kept = ds.dataset(sorted(tmp_path.glob("rows-*.parquet"))).to_table()
    assert kept[POSITION].to_pylist() == list(range(250))
    assert kept["id"].to_pylist() == rows["id"].to_pylist()
    assert kept.column_names == [POSITION, "id", "group"]


def test_rows_are_split_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "ROWS_PER_FILE", 100)
    _, files = build(tmp_path, rows_of(unit(250, 8)), batch_rows=50).finish()
    assert sorted(files) == [INDEX, *(f"rows-{number:05d}.parquet" for number in range(3))]
    sizes = [ds.dataset(tmp_path / name).count_rows() for name in sorted(files)[1:]]
    assert sizes == [100, 100, 50]


def test_rows_that_come_few_at_a_time_share_a_group(tmp_path: Path) -> None:
    build(tmp_path, rows_of(unit(250, 8)), batch_rows=10).finish()
    assert pq.ParquetFile(tmp_path / "rows-00000.parquet").num_row_groups == 1


def test_digests_are_those_of_the_files(tmp_path: Path) -> None:
    _, files = build(tmp_path, rows_of(unit(50, 8))).finish()
    for name, told in files.items():
        data = (tmp_path / name).read_bytes()
        assert (told.sha256, told.size) == (hashlib.sha256(data).hexdigest(), len(data))


def test_what_cannot_be_compared_is_left_out_and_counted(tmp_path: Path) -> None:
    vectors = unit(10, 8, "float32")
    vectors[2], vectors[5], vectors[7] = 0, np.nan, vectors[7] * 3
    rows = rows_of(vectors)
    missing = rows.slice(0, 1).set_column(1, "embedding", pa.nulls(1, rows["embedding"].type))
    builder = build(tmp_path, pa.concat_tables([rows, missing]))
    builder.finish()
    assert (builder.index.ntotal, builder.num_skipped) == (7, 3)
    kept = ds.dataset(tmp_path / "rows-00000.parquet").to_table()["id"].to_pylist()
    assert [int(each, 16) for each in kept] == [0, 1, 3, 4, 6, 8, 9]


@pytest.mark.parametrize("num", [1, 5, 300])
def test_the_recall_of_an_exact_index_is_one(num: int, tmp_path: Path) -> None:
    recall, _ = build(tmp_path, rows_of(unit(num, 16))).finish()
    assert (recall.value, recall.k, recall.num_queries) == (1.0, 10, min(num, 64))


def test_vectors_are_told_from_other_lists() -> None:
    assert is_vector(embedding_type(8))
    assert is_vector(pa.list_(embedding_type(8)))
    assert not is_vector(detection_type(keypoints=True))
    assert not is_vector(CLASSES)
    assert not is_vector(pa.list_(pa.string()))
    assert not is_vector(pa.string())
    assert not is_vector(pa.list_(embedding_type(8), 4))  # features
    columns = {"uri": pa.string(), "embedding": embedding_type(8), "detections": detection_type()}
    assert row_schema(pa.schema(columns)).names == [POSITION, "uri", "detections"]
