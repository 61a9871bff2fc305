"""What `lakesight search` looks for: a picture, a row by its id, or words; as vectors."""

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from indexes.manifest import IndexManifest
from indexes.search import Searcher
from lakesight import ranking
from lakesight.errors import UserError
from lakesight.lake.globs import IMAGE_SUFFIXES
from lakesight.lake.store import Store, TooLargeError
from lakesight.lake.uris import is_s3, local_path
from lakesight.media.decode import Decoded, MediaError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.models import catalog
from lakesight.models.base import Image, ImageEncoder, Model, TextEncoder

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
    """What made the vectors."""
    text: str | None = None
    """The words, where it is words."""
    view: Image | None = None
    """The picture as the model sees it, where texts are to be found by it."""


def query_of(searcher: Searcher, asked: str) -> Query:
    """Return what was asked of an index; UserError for what it cannot be asked."""
    if not asked.strip():
        raise UserError("the query is empty: expected a picture, id:HEX, or words")
    if by_id := ROW_ID.fullmatch(asked):
        return Query(searcher.vectors(by_id[1]), by_id[1])
    if asked.startswith("id:"):
        raise UserError(f"expected id: and 32 hex digits, got {asked!r}")
    if not names_picture(asked):
        model = build(searcher.manifest)
        return Query(embed_text(asked, model), model=model, text=asked)
    data, model = read(asked), build(searcher.manifest)
    picture = drawn(data, model)
    if searcher.manifest.holds == "pictures":
        return Query(embed_picture(picture, model), model=model)
    assert isinstance(model, ImageEncoder), "which was checked when the texts were indexed"
    (view,) = picture.views
    return Query(model.embed_images([view])[0], model=model, view=view)


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


def drawn(data: bytes, model: Model) -> Decoded:
    """Return a picture as the model sees it, by the way of the batch job."""
    with DecodePool([model.view], Limits(), num_processes=1) as pool:
        ((_, picture),) = pool.decode([(0, data)])
    if isinstance(picture, MediaError):
        raise UserError(f"the picture cannot be read: {picture}")
    return picture


def embed_picture(picture: Decoded, model: Model) -> Vectors:
    """Return what the batch job would have written for this picture, `(V, dim)`."""
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


def check_rerank(holds: str, query: Query) -> None:
    """Raise UserError where a query and what the index holds are not a picture and a text."""
    if holds == "pictures" and query.text is None:
        raise UserError(
            "--rerank looks at pictures and a text together: search by a text, or by a picture an "
            "index of texts (`lakesight index … --texts`)"
        )
    if holds == "texts" and query.view is None:
        raise UserError("--rerank looks at a picture and texts together: search by a picture")


def reranked(searcher: Searcher, query: Query, hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the hits by their score and whether picture and text match.

    No picture is looked at again: what the model saw of those of an index is kept there, and a
    query's own goes through the vision tower once.
    """
    if query.view is None:
        assert query.text is not None, "which `check_rerank` saw to"
        return ranking.reranked(searcher.features, query.model, query.text, hits)
    return ranking.reranked_texts(query.model, query.view, hits)
