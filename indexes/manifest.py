"""What a published index says of itself; written beside its files, and read before any of them."""

import hashlib
from datetime import datetime
from typing import Annotated, BinaryIO, Literal

from pydantic import Field

from lakesight.models.base import Frozen, ModelSpec

CHUNK_BYTES = 1 << 20

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""Of a file or a build: it cannot lead out of its folder."""


class Digest(Frozen):
    """The bytes that a file must have before it is opened."""

    sha256: str
    size: int


class Recall(Frozen):
    """How many of the true nearest neighbours are found, measured when the index was built."""

    value: float
    k: int
    num_queries: int
    """Stored vectors, spread over the first rows, each looked up among all."""


Holds = Literal["pictures", "texts"]
"""What the rows of an index are."""


class IndexManifest(Frozen):
    """One immutable build of an index."""

    format: Literal[1] = 1
    build_id: Name
    written: datetime
    holds: Holds = "pictures"
    """pictures: rows of an output. texts: an `id` and a `text` each, to be found by pictures."""
    source: str
    """URI of the output, or of the list, whose rows are indexed."""
    fingerprint: str
    """Digest of what was indexed: the same again means that there is nothing to do."""
    column: str
    """Of the source: of vectors, or of texts."""
    model: ModelSpec | None
    """What made the vectors, and makes a query comparable with them; None where unknown."""
    metric: Literal["inner_product"] = "inner_product"
    storage: Literal["float16", "float32"]
    """As the rows hold them: no precision is lost."""
    dim: int
    count: int
    """Rows."""
    vectors_per_row: int = 1
    """As BLIP-2 has several a picture; a row's score is that of its best."""
    features: tuple[int, int] | None = None
    """Shape of what the model saw of each row, float16, where that is kept for `--rerank`."""
    num_skipped: int
    """Rows with a vector that was not of length 1, and so could not be compared."""
    recall: Recall
    faiss_version: str
    files: dict[Name, Digest]


class Pointer(Frozen):
    """`current.json`: the build that readers open."""

    build_id: Name
    manifest: Digest
    previous: tuple[Name, ...] = ()
    """Builds that were current before and are still kept, newest first."""


def digest(file: BinaryIO) -> Digest:
    """Return the digest of the rest of a file, read in chunks of 1 MiB."""
    sha256, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        sha256.update(chunk)
        size += len(chunk)
    return Digest(sha256=sha256.hexdigest(), size=size)
