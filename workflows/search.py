"""`lakesight search INDEX QUERY`: the rows most like a picture, a row, or a text."""

import sys
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from indexes.manifest import IndexManifest
from indexes.search import Searcher
from lakesight.models.base import Frozen
from lakesight.ranking import without
from lakesight.scenes.known import warning_of_others
from workflows import tables
from workflows.queries import check_rerank, query_of, reranked

MAX_SEEN = 120
"""Characters that are printed of what a row holds; --json has all."""


class Search(Frozen):
    r"""Find the rows of an index that are most like a picture, another row, or a text.

    QUERY is one of
      photo.jpg, s3://bucket/photo.jpg   a picture
      id:HEX                             a row by its id; it is not among its own results
      a red bus                          a text, where the model that made the index reads text

    An index of texts (`lakesight index … --texts`) gives texts: those that a picture is best told
    by.

    Examples:
      lakesight search index/ photo.jpg
      lakesight search index/ photo.jpg --where "width >= 1024 AND uri LIKE '%/2024/%'"
      lakesight search index/ photo.jpg \
          --where "list_contains([d.label for d in detections], 'dog')"
      lakesight search index/ photo.jpg \
          --where "len([d for d in detections if d.label = 'person' AND d.score > 0.8]) >= 2"
      lakesight search s3://bucket/index "a red bus" -k 100 --json
      lakesight search said/ photo.jpg --rerank 128
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
    """Look at so many of the best and the query together (ITM of BLIP or BLIP-2), and rank them by
    whether picture and text match, too; the others follow. For a text in an index with --features,
    and for a picture in one of --texts."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a row, with all its columns."""

    def run(self) -> int:
        """Print the results, best first; return 0."""
        searcher = Searcher.open(self.index)
        query = query_of(searcher, self.query)
        if self.rerank is not None:
            check_rerank(searcher.manifest.holds, query)
        own = [query.model.card] if query.model and query.text is None else []
        if warning := warning_of_others(own, lambda: self.query):
            print(warning, file=sys.stderr)
        start = time.perf_counter()
        # one more, since the row itself may be among them
        k = max(self.k + (query.own_id is not None), self.rerank or 0)
        found = searcher.search(query.vectors[None], k, self.where).drop_columns(["query"])
        hits = without(found.to_pylist(), query.own_id)
        if self.rerank is not None:
            hits = reranked(searcher, query, hits[: self.rerank]) + hits[self.rerank :]
        hits = hits[: self.k]
        seconds = time.perf_counter() - start
        if self.json_output:
            tables.write_json_lines(hits, sys.stdout)
        else:
            self._print(hits, searcher.manifest, seconds)
        return 0

    def _print(self, hits: list[dict[str, Any]], manifest: IndexManifest, seconds: float) -> None:
        names = ["text"] if manifest.holds == "texts" else ["seen", "uri"]
        shown = [hit | {"score": f"{hit['score']:.4f}", "seen": short(seen(hit))} for hit in hits]
        if shown:
            tables.write_aligned(shown, ["rank", "score", *names], sys.stdout, max_cell=1024)
        kept = f" where {self.where}" if self.where else ""
        what = "texts" if manifest.holds == "texts" else "rows"
        print(
            f"{len(hits)} of {manifest.count:,} {what} of {self.index}{kept}, "
            f"{seconds * 1000:.0f} ms"
        )


def short(text: str) -> str:
    """Return a text that fits into a cell, whole words of it."""
    return textwrap.shorten(text, MAX_SEEN, placeholder=" …")


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
