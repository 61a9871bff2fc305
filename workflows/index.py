"""`lakesight index OUTPUT INDEX`: committed embeddings into a published FAISS index."""

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import faiss
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from indexes.build import Builder, is_vector, shape_of
from indexes.manifest import IndexManifest
from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.lake.reader import Lake
from lakesight.models.base import Frozen, ModelSpec
from lakesight.models.columns import column_of
from workflows import tables

BATCH_ROWS = 8192


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
            for batch in batches(lake, self.column):
                builder.add(batch)
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
                model=model_of(lake, self.column),
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
    made, seen = model_of(lake, column), model_of(lake, features)
    if made is None or seen is None or made.card.sha256 != seen.card.sha256:
        names = [one.card.name if one else "an unknown model" for one in (made, seen)]
        raise UserError(
            f"the vectors in {column!r} are of {names[0]}, and the features in {features!r} of "
            f"{names[1]}: one model is to search and to match, so embed both by the same weights"
        )


def batches(lake: Lake, column: str) -> Iterator[pa.RecordBatch]:
    """Yield the latest rows that have a vector, at least `BATCH_ROWS` at once but for the last."""
    held: list[pa.RecordBatch] = []
    for batch in lake.latest():
        held.append(batch.filter(pc.is_valid(batch[column])))
        if sum(part.num_rows for part in held) >= BATCH_ROWS:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


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


def model_of(lake: Lake, column: str) -> ModelSpec | None:
    """Return the model that wrote a column of vectors, or of features; None where nobody says."""
    specs = [ModelSpec.model_validate(spec) for spec in lake.settings.get("models", ())]
    made = [spec for spec in specs if spec.card.kind == "embed"]
    return next((spec for spec in made if column_of(spec) == column), None)
