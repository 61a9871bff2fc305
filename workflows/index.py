"""`lakesight index OUTPUT INDEX`: committed embeddings into a published FAISS index."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import faiss
from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from indexes.build import Builder
from indexes.manifest import IndexManifest
from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.models.base import Frozen
from workflows import tables
from workflows.indexed import Content, pictures
from workflows.indexed_texts import is_list, texts

OF_PICTURES = ("column", "features")
"""Settings that mean nothing where texts are indexed."""


class Index(Frozen):
    """Build an index for `lakesight search` from the embeddings of an output, or of texts.

    Exact: every vector is compared. The index is published whole: who searches it meanwhile sees
    the old one or the new one. Run again after `annotate`; nothing new means nothing to do.

    With --texts or --text-model texts are indexed, each once, to be found by a picture.

    Examples:
      lakesight index seen/ index/
      lakesight index s3://bucket/seen s3://bucket/index
      lakesight index seen/ faces/ --column faces
      lakesight index seen/ said/ --texts caption
      lakesight index captions.txt said/ --text-model finder/
    """

    output: CliPositionalArg[str]
    """Folder or s3:// prefix that `lakesight annotate --embed` wrote; or a list of texts: a .txt
    with one a line, a .csv or a .parquet."""
    index: CliPositionalArg[str]
    """Folder or s3:// prefix of the index."""
    column: str = "embedding"
    """Column that holds the vectors: one a row, or several, of which the best counts."""
    features: str | None = None
    """Column of features to keep, for `search --rerank`; 70 KB to 700 KB a row."""
    texts: str | None = None
    """Index the texts of this column in place of the pictures: caption, captions, crop_captions, or
    of a .csv or .parquet list; `text` of a list unless given."""
    text_model: str | None = None
    """What embeds texts, and pictures to find them by, such as a CLIP or a BLIP-2 that retrieves;
    the model that embedded the output unless given."""
    allow_licence: tuple[str, ...] = ()
    """A licence of --text-model, as a refusal names it, that you have read and may use; may be
    given several times."""
    keep: int = Field(default=2, ge=1)
    """Builds that stay: the new one, and older ones for those who still read them."""
    rebuild: bool = False
    """Build it even where nothing is new."""
    json_output: bool = Field(default=False, alias="json")
    """Print the manifest of the index as JSON."""

    def run(self) -> int:
        """Build and publish what is new; return 0."""
        content = self._content()
        store = IndexStore.open(self.index)
        manifest = None if self.rebuild else store.current()
        if manifest is None or manifest.fingerprint != content.fingerprint:
            manifest, is_new = self._build(content, store), True
        else:
            is_new = False
        self._print(manifest, is_new=is_new)
        return 0

    def _content(self) -> Content:
        if self.texts is None and self.text_model is None:
            if self.allow_licence:
                raise UserError("--allow-licence is for --text-model: leave it out")
            if is_list(self.output):
                raise UserError(
                    f"{self.output} is a list: to index its texts, name what embeds them as "
                    "--text-model"
                )
            return pictures(lakesight.open(self.output), self.column, self.features)
        for name in self.model_fields_set.intersection(OF_PICTURES):
            raise UserError(f"--{name} is of pictures, and texts are to be indexed: leave it out")
        return texts(self.output, self.texts, self.text_model, self.allow_licence)

    def _build(self, content: Content, store: IndexStore) -> IndexManifest:
        started = datetime.now(UTC)
        with tempfile.TemporaryDirectory(prefix="lakesight-index-") as name:
            builder = Builder(Path(name), content.schema, content.vectors, content.features)
            for rows in content.rows():
                builder.add(rows)
            if not builder.count:
                what = "no texts" if content.holds == "texts" else "no vectors of length 1"
                raise UserError(
                    f"{self.output} has {what} in {content.column!r}: {builder.num_skipped} of "
                    "another length"
                )
            recall, files = builder.finish()
            manifest = IndexManifest(
                build_id=f"{started:%Y%m%dt%H%M%Sz}-{uuid4().hex[:8]}",
                written=datetime.now(UTC),
                holds=content.holds,
                source=content.source,
                fingerprint=content.fingerprint,
                column=content.column,
                model=content.model,
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
            rows = "texts" if manifest.holds == "texts" else "rows"
            print(f"Nothing new: {self.index} holds all {manifest.count:,} {rows}")
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
