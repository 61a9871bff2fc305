"""`lakesight search INDEX QUERY`: the rows most like a picture, a row, or a text."""

import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from pydantic_settings import CliPositionalArg

from indexes.manifest import IndexManifest
from indexes.search import Searcher
from lakesight.errors import UserError
from lakesight.lake.globs import IMAGE_SUFFIXES
from lakesight.lake.store import Store, TooLargeError
from lakesight.lake.uris import is_s3, local_path
from lakesight.media.decode import MediaError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.models import catalog
from lakesight.models.base import Frozen, Model, TextEncoder
from lakesight.ranking import reranked, without
from workflows import tables

Vectors = npt.NDArray[np.float32]
SUFFIXES = frozenset(IMAGE_SUFFIXES.split())
ROW_ID = re.compile(r"id:([0-9a-f]{32})")


class Query(NamedTuple):
    """What is looked for."""

    vectors: Vectors
    """`(V, dim)`."""
    own_id: str | None = None
    """Of a row of the index, which is not to find itself."""
    model: Model | None = None
    """What reads the text."""


class Search(Frozen):
    r"""Find the rows of an index that are most like a picture, another row, or a text.

    QUERY is one of
      photo.jpg, s3://bucket/photo.jpg   a picture
      id:HEX                             a row by its id; it is not among its own results
      a red bus                          a text, where the model that made the index reads text

    Examples:
      lakesight search index/ photo.jpg
      lakesight search index/ photo.jpg --where "width >= 1024 AND uri LIKE '%/2024/%'"
      lakesight search index/ photo.jpg \
          --where "list_contains([d.label for d in detections], 'dog')"
      lakesight search index/ photo.jpg \
          --where "len([d for d in detections if d.label = 'person' AND d.score > 0.8]) >= 2"
      lakesight search s3://bucket/index "a red bus" -k 100 --json
    """

    index: CliPositionalArg[str]
    """Folder or s3:// prefix that `lakesight index` wrote."""
    query: CliPositionalArg[str]
    """A picture, id:HEX, or a text."""
    k: int = Field(default=10, ge=1, le=10_000)
    """How many rows."""
    where: str | None = None
    """SQL condition on the row, in DuckDB's words; applied first, so that k rows come back if k
    match."""
    rerank: int | None = Field(default=None, ge=1, le=10_000)
    """Look at so many of the best pictures and the text together (ITM of BLIP or BLIP-2), and rank
    them by whether they match, too; for an index with --features."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a row, with all its columns."""

    def run(self) -> int:
        """Print the results, best first; return 0."""
        searcher = Searcher.open(self.index)
        query = self._query(searcher)
        start = time.perf_counter()
        # one more, since the row itself may be among them
        k = max(self.k + (query.own_id is not None), self.rerank or 0)
        found = searcher.search(query.vectors[None], k, self.where).drop_columns(["query"])
        hits = without(found.to_pylist(), query.own_id)
        if self.rerank is not None:
            hits = reranked(searcher.features, query.model, self.query, hits[: self.rerank])
        hits = hits[: self.k]
        seconds = time.perf_counter() - start
        if self.json_output:
            tables.write_json_lines(hits, sys.stdout)
        else:
            self._print(hits, searcher.manifest, seconds)
        return 0

    def _query(self, searcher: Searcher) -> Query:
        if not self.query.strip():
            raise UserError("the query is empty: expected a picture, id:HEX, or words")
        by_id = ROW_ID.fullmatch(self.query)
        is_picture = not by_id and names_picture(self.query)
        if self.query.startswith("id:") and not by_id:
            raise UserError(f"expected id: and 32 hex digits, got {self.query!r}")
        if self.rerank is not None and (by_id or is_picture):
            raise UserError("--rerank looks at pictures and a text together: search by a text")
        if by_id:
            return Query(searcher.vectors(by_id[1]), by_id[1])
        if is_picture:
            data = read(self.query)
            return Query(embed_picture(data, build(searcher.manifest)))
        model = build(searcher.manifest)
        return Query(embed_text(self.query, model), model=model)

    def _print(self, hits: list[dict[str, Any]], manifest: IndexManifest, seconds: float) -> None:
        shown = [
            {"rank": hit["rank"], "score": f"{hit['score']:.4f}", "seen": seen(hit)}
            | {"uri": hit["uri"]}
            for hit in hits
        ]
        if shown:
            names = ["rank", "score", "seen", "uri"]
            tables.write_aligned(shown, names, sys.stdout, max_cell=1024)
        kept = f" where {self.where}" if self.where else ""
        print(
            f"{len(hits)} of {manifest.count:,} rows of {self.index}{kept}, {seconds * 1000:.0f} ms"
        )


def names_picture(text: str) -> bool:
    """Return whether a query is a picture's path or URI, rather than words."""
    _, dot, suffix = text.rpartition(".")
    if is_s3(text) or text.startswith("file://") or (dot and suffix.lower() in SUFFIXES):
        return True
    try:
        return local_path(text).is_file()
    except OSError:  # words that are too long for a name
        return False


def read(uri: str) -> bytes:
    """Return the bytes of a picture, or raise UserError where there is none."""
    store, key = Store.open(uri)
    try:
        return store.get(key, max_bytes=Limits().max_bytes)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"there is no picture at {uri}") from None
    except TooLargeError:
        raise UserError(f"{uri} has more than {Limits().max_bytes >> 20} MiB") from None


def embed_picture(data: bytes, model: Model) -> Vectors:
    """Return what the batch job would have written for this picture, `(V, dim)`."""
    with DecodePool([model.view], Limits(), num_processes=1) as pool:
        ((_, picture),) = pool.decode([(0, data)])
    if isinstance(picture, MediaError):
        raise UserError(f"the picture cannot be read: {picture}")
    size = pa.table({"width": [picture.width], "height": [picture.height]})
    (value,) = model.predict(picture.views, size).to_pylist()
    found = np.asarray(value, dtype=np.float32)
    return found.reshape(-1, found.shape[-1])


def embed_text(text: str, model: Model) -> Vectors:
    """Return the vector `(1, dim)` of a text, by the model that made the index."""
    if not isinstance(model, TextEncoder):
        raise UserError(
            f"this index was made by {model.card.name}, which sees pictures and reads no text: "
            "search by a picture or by id:HEX, or embed the pictures by a model of the family "
            "image-text (CLIP, SigLIP, SigLIP2, BLIP-2)"
        )
    vectors: Vectors = model.embed_text([text])
    return vectors


def build(manifest: IndexManifest) -> Model:
    """Return the model whose vectors an index holds."""
    if manifest.model is None:
        raise UserError(
            f"this index does not say which model made {manifest.column!r}: search by id:HEX"
        )
    return catalog.build(manifest.model)


def seen(row: Mapping[str, Any]) -> str:
    """Return in a few words what a row holds, and the answers that it has.

    That is its caption, else its objects, with what was written of them, else its class.
    """
    answers = [f"{one['question']} {one['answer']}" for one in row.get("answers") or ()]
    return "; ".join(part for part in (_seen(row), *answers) if part)


def _seen(row: Mapping[str, Any]) -> str:
    if row.get("caption"):
        return str(row["caption"])
    if row.get("captions"):
        return str(row["captions"][0]["text"])
    if row.get("detections"):
        said = [text for text in row.get("crop_captions") or () if text]
        return ": ".join(filter(None, (counted(_labels(row)), ", ".join(said))))
    return str(row["classes"][0]["label"]) if row.get("classes") else ""


def _labels(row: Mapping[str, Any]) -> list[str]:
    return [found["label"] for found in row["detections"]]


def counted(labels: Sequence[str]) -> str:
    """Return labels by how often they come, such as `3 person, bus`."""
    common = Counter(labels).most_common(4)
    return ", ".join(f"{count} {label}" if count > 1 else label for label, count in common)
