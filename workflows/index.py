"""`lakesight index OUTPUT INDEX`: committed embeddings into a published FAISS index."""

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import faiss
import pyarrow as pa
from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from indexes.build import Builder, row_schema, shape_of
from indexes.manifest import IndexManifest
from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.lake.reader import Lake
from lakesight.models.base import Frozen, ModelSpec
from lakesight.models.columns import embedder_of
from lakesight.schemas import is_vector
from workflows import tables

BATCH_ROWS, BATCH_BYTES = 8192, 16 << 20
"""What is taken in at once: so many rows, or fewer where they are large. Reading nested numbers of
two bytes from Parquet takes five times their size."""
SEVERAL = 32
"""The vectors of a row that has a list of them, for how large it may be."""


class Index(Frozen):
    """Build an index for `lakesight search` from the embeddings of an output.

    Exact: every vector is compared. The index is published whole: who searches it meanwhile sees
    the old one or the new one. Run again after `annotate`; nothing new means nothing to do.

    Examples:
      lakesight index seen/ index/
      lakesight index s3://bucket/seen s3://bucket/index
      lakesight index seen/ faces/ --column faces
    """

    output: CliPositionalArg[str]
    """Folder or s3:// prefix that `lakesight annotate --embed` wrote."""
    index: CliPositionalArg[str]
    """Folder or s3:// prefix of the index."""
    column: str = "embedding"
    """Column that holds the vectors: one a row, or several, of which the best counts."""
    features: str | None = None
    """Column of features to keep, for `search --rerank`; 70 KB to 700 KB a row."""
    keep: int = Field(default=2, ge=1)
    """Builds that stay: the new one, and older ones for those who still read them."""
    rebuild: bool = False
    """Build it even where nothing is new."""
    json_output: bool = Field(default=False, alias="json")
    """Print the manifest of the index as JSON."""

    def run(self) -> int:
        """Build and publish what is new; return 0."""
        lake = lakesight.open(self.output)
        check_column(lake, self.column)
        store = IndexStore.open(self.index)
        if self.features is not None:
            check_features(lake, self.column, self.features)
        wanted = fingerprint(lake, self.column, self.features)
        manifest = None if self.rebuild else store.current()
        if manifest is None or manifest.fingerprint != wanted:
            manifest, is_new = self._build(lake, store, wanted), True
        else:
            is_new = False
        self._print(manifest, is_new=is_new)
        return 0

    def _build(self, lake: Lake, store: IndexStore, wanted: str) -> IndexManifest:
        started = datetime.now(UTC)
        with tempfile.TemporaryDirectory(prefix="lakesight-index-") as name:
            builder = Builder(Path(name), lake.dataset().schema, self.column, self.features)
            for rows in batches(lake, self.column, self.features):
                builder.add(rows)
            if not builder.count:
                raise UserError(
                    f"{self.output} has no vectors of length 1 in {self.column!r}: "
                    f"{builder.num_skipped} of another length"
                )
            recall, files = builder.finish()
            manifest = IndexManifest(
                build_id=f"{started:%Y%m%dt%H%M%Sz}-{uuid4().hex[:8]}",
                written=datetime.now(UTC),
                source=lake.output.uri,
                fingerprint=wanted,
                column=self.column,
                model=_model_of(lake, self.column),
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
            store.publish(Path(name), manifest, self.keep)
        return manifest

    def _print(self, manifest: IndexManifest, *, is_new: bool) -> None:
        if self.json_output:
            print(tables.as_json({"new": is_new} | manifest.model_dump(mode="json")))
            return
        if not is_new:
            print(f"Nothing new: {self.index} holds all {manifest.count:,} rows")
            return
        size = sum(file.size for file in manifest.files.values())
        if manifest.num_skipped:
            print(f"{manifest.num_skipped:,} rows were left out: their vector is not of length 1")
        num_vectors = manifest.count * manifest.vectors_per_row
        each = f" of {manifest.count:,} rows" if manifest.vectors_per_row > 1 else ""
        print(
            f"Wrote {num_vectors:,} vectors{each} of {manifest.dim} {manifest.storage} "
            f"({size / 1e6:.1f} MB, recall@{manifest.recall.k} {manifest.recall.value:.3f}) "
            f"to {self.index}"
        )


def check_column(lake: Lake, column: str) -> None:
    """Raise UserError unless the output has vectors in that column."""
    schema = lake.dataset().schema
    fitting = [field.name for field in schema if is_vector(field.type)]
    if column in fitting:
        return
    if not schema.names:
        raise UserError("the output has no rows yet: run `lakesight annotate` to its end first")
    found = str(schema.field(column).type) if column in schema.names else "no such column"
    hint = (
        f"give --column {' or '.join(fitting)}"
        if fitting
        else "give `lakesight annotate` a model by --embed, and another output"
    )
    raise UserError(f"expected vectors in the column {column!r}, got {found}: {hint}")


def check_features(lake: Lake, column: str, features: str) -> None:
    """Raise UserError unless the output has features there, of the model that made the vectors."""
    schema = lake.dataset().schema
    if features not in schema.names:
        raise UserError(f"{lake.output.uri} has no column {features!r} of features")
    shape_of(schema.field(features).type)
    made, seen = _model_of(lake, column), _model_of(lake, features)
    if made is None or seen is None or made.card.sha256 != seen.card.sha256:
        names = [one.card.name if one else "an unknown model" for one in (made, seen)]
        raise UserError(
            f"the vectors in {column!r} are of {names[0]}, and the features in {features!r} of "
            f"{names[1]}: one model is to search and to match, so embed both by the same weights"
        )


def batches(lake: Lake, column: str, features: str | None = None) -> Iterator[pa.Table]:
    """Yield the latest rows, with what an index takes of them and nothing else.

    Of all but the last there are at least `BATCH_ROWS`, or `BATCH_BYTES`.
    """
    schema = lake.dataset().schema
    large = [column, *([features] if features else [])]
    names = [*row_schema(schema).names[1:], *large]
    max_rows = BATCH_BYTES // sum(num_bytes(schema.field(name).type) for name in large)
    held: list[pa.RecordBatch] = []
    num_rows = size = 0
    for batch in lake.latest(names, max(1, max_rows) if max_rows < BATCH_ROWS else None):
        held.append(batch)
        num_rows, size = num_rows + batch.num_rows, size + batch.nbytes
        if num_rows >= BATCH_ROWS or size >= BATCH_BYTES:
            yield pa.Table.from_batches(held)
            held, num_rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def num_bytes(kind: pa.DataType) -> int:
    """Return how large a value of vectors or features is, `SEVERAL` being in a list."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * num_bytes(kind.value_type)
    if pa.types.is_list(kind):
        return SEVERAL * num_bytes(kind.value_type)
    return int(kind.byte_width)


def fingerprint(lake: Lake, column: str, features: str | None = None) -> str:
    """Return a digest of what an index depends on: settings, manifests, data files."""
    output = lake.output
    told = {
        "column": column,
        **({} if features is None else {"features": features}),
        "settings": lake.settings,
        "generations": [each.model_dump(mode="json") for each in output.generations()],
        "files": lake.files(),  # never written twice, and the very ones that the build will read
    }
    return hashlib.sha256(tables.as_json(told).encode()).hexdigest()


def _model_of(lake: Lake, column: str) -> ModelSpec | None:
    return embedder_of(lake.settings.get("models", ()), column)
