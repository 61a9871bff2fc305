"""A published index of given vectors, without an output; for what builds and searches indexes."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from indexes.build import Builder
from indexes.manifest import IndexManifest
from indexes.store import IndexStore
from lakesight.models.base import ModelSpec

Vectors = npt.NDArray[np.floating[Any]]


def unit(num: int, dim: int, dtype: str = "float16", seed: int = 0) -> Vectors:
    """Return random vectors `(num, dim)` of length 1."""
    drawn = np.random.default_rng(seed).standard_normal((num, dim))
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(drawn / lengths, dtype=dtype)


def rows_of(vectors: Vectors) -> pa.Table:
    """Return a row for each of the vectors: its id counts up, and `group` is that modulo 7.

    `(num, dim)`, or `(num, V, dim)` for rows of several vectors.
    """
    num, *_, dim = vectors.shape
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    if vectors.ndim == 3:
        starts = np.arange(num + 1, dtype=np.int32) * vectors.shape[1]
        values = pa.ListArray.from_arrays(pa.array(starts), values)
    groups = pa.array([place % 7 for place in range(num)], pa.int32())
    ids = pa.array([f"{place:032x}" for place in range(num)])
    return pa.table({"id": ids, "embedding": values, "group": groups})


def build(
    folder: Path, rows: pa.Table, batch_rows: int = 100, features: str | None = None
) -> Builder:
    """Return a builder that has seen the rows, in batches."""
    builder = Builder(folder, rows.schema, "embedding", features)
    for start in range(0, rows.num_rows, batch_rows):
        builder.add(rows.slice(start, batch_rows))
    return builder


def publish(store: IndexStore, vectors: Vectors, build_id: str, keep: int = 2) -> IndexManifest:
    """Build an index of the vectors and make it the current one."""
    return publish_rows(store, rows_of(vectors), build_id, keep)


def publish_rows(
    store: IndexStore, rows: pa.Table, build_id: str, keep: int = 2, model: ModelSpec | None = None
) -> IndexManifest:
    """Build an index of rows with vectors, which a model made, and make it the current one.

    Where they have a column of features, it is kept.
    """
    features = "features" if "features" in rows.column_names else None
    with tempfile.TemporaryDirectory() as folder:
        builder = build(Path(folder), rows, features=features)
        recall, files = builder.finish()
        manifest = IndexManifest(
            build_id=build_id,
            written=datetime.now(UTC),
            source="nowhere",
            fingerprint=build_id,
            column="embedding",
            model=model,
            storage=builder.storage,
            dim=builder.dim,
            count=builder.count,
            vectors_per_row=builder.vectors_per_row or 1,
            features=builder.features_shape,
            num_skipped=builder.num_skipped,
            recall=recall,
            faiss_version=faiss.__version__,
            files=files,
        )
        store.publish(Path(folder), manifest, keep)
    return manifest
