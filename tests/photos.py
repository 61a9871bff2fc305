"""Real photographs, what a detector saw on them, and an index of them, without Ray."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

import lakesight
from indexes.store import IndexStore
from lakesight.lake.local import etag_of
from lakesight.lake.uris import file_uri
from lakesight.loaded import LoadedModel
from lakesight.schemas import row_id
from tests.indexing import publish_rows
from workflows.demo import photos

NAMES = ("chelsea", "astronaut", "coffee", "motorcycle_left", "rocket", "china")


def write_photos(folder: Path, names: Iterable[str] = NAMES) -> list[Path]:
    """Write photos of the demo, each in its four variants, and return where they are."""
    folder.mkdir()
    paths = []
    for key, picture in photos():
        name, variant = Path(key).parent.name, Path(key).name
        if name in names:
            paths.append(folder / f"{name}-{variant}")
            picture().save(paths[-1], quality=90)
    return paths


def looked_at(paths: list[Path], embedder: LoadedModel, captions: list[str]) -> pa.Table:
    """Return a row for each photo as `annotate` writes it, with these captions."""
    found = lakesight.load("ssd-mobilenet-v2-coco").predict(paths)
    uris = [file_uri(path) for path in paths]
    etags = [etag_of(path.stat()) for path in paths]
    return pa.table(
        {
            "id": [row_id(uri, etag) for uri, etag in zip(uris, etags, strict=True)],
            "uri": uris,
            "etag": etags,
            "width": pa.array([width for width, _ in found.sizes_wh], pa.int32()),
            "height": pa.array([height for _, height in found.sizes_wh], pa.int32()),
            "format": ["jpeg"] * len(paths),
            "status": ["ok"] * len(paths),
            "detections": found.column,
            "caption": captions,
            "embedding": embedder.predict(paths).column,
        }
    )


def publish(rows: pa.Table, folder: Path, embedder: LoadedModel | None) -> str:
    """Publish an index of rows, and return its URI."""
    model = embedder.spec if embedder else None
    publish_rows(IndexStore.open(str(folder)), rows, "one", model=model)
    return str(folder)
