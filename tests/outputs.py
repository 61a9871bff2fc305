"""A real output of invented rows, written through the lake; for what reads outputs."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.lake.store import Store
from lakesight.models.packaged import PACKAGED
from lakesight.schemas import CLASSES, detection_type, embedding_type, output_schema

DIM = 16
LABELS = ("person", "bus", "dog")
EMBEDDER = next(card for card in PACKAGED if card.family == "classifier").model_copy(
    update={"kind": "embed", "family": "image-embedder"}
)
SETTINGS: Mapping[str, Any] = {
    "models": [{"card": EMBEDDER.model_dump(mode="json"), "options": {}, "runtime": "auto"}]
}
SCHEMA = output_schema(
    [
        pa.field("detections", detection_type(keypoints=True)),
        pa.field("classes", CLASSES),
        pa.field("caption", pa.string()),
        pa.field("embedding", embedding_type(DIM)),
    ]
)


def write_pictures(root: str, names: Sequence[str]) -> None:
    """Put one small JPEG under each name; names that begin with `broken` are no pictures."""
    store, prefix = Store.open(root)
    for name in names:
        key = f"{prefix}/{name}" if prefix else name
        store.put(key, b"nothing" if name.startswith("broken") else jpeg(name))


def jpeg(name: str) -> bytes:
    """Return a picture of 96 x 64 pixels of one colour, another one for every name."""
    colour = tuple(hashlib.blake2b(name.encode(), digest_size=3).digest())
    file = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(file, "JPEG")
    return file.getvalue()


def vector(uri: str, dim: int = DIM) -> npt.NDArray[np.float16]:
    """Return the invented embedding of an object, of length 1."""
    rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(uri.encode()).digest()[:8]))
    drawn = rng.standard_normal(dim)
    return (drawn / np.linalg.norm(drawn)).astype(np.float16)


def row(uri: str) -> dict[str, Any]:
    """Return what was seen of an object: one or two things of `LABELS`, or an error."""
    if Path(uri).name.startswith("broken"):
        error = {"stage": "decode", "type": "unsupported format", "message": "not a picture"}
        return {"status": "error", "error": error}
    place = sum(uri.rpartition("/")[2].encode()) % len(LABELS)
    points = [[10.0 + 2 * i, 8.0 + 2 * i, 0.9] for i in range(17)]
    found = [
        {"box": [8.0, 6.0, 60.0, 58.0], "score": 0.9, "class_id": place, "label": LABELS[place]},
        {"box": [40.0, 10.0, 90.0, 50.0], "score": 0.6, "class_id": 0, "label": "person"},
    ]
    return {
        "status": "ok",
        "width": 96,
        "height": 64,
        "format": "jpeg",
        "detections": [found[0] | {"keypoints": points}, *found[1 : 1 + place]],
        "classes": [{"class_id": place, "label": f"class {LABELS[place]}", "score": 0.75}],
        "caption": f"a plain picture of a {LABELS[place]}",
        "embedding": vector(uri),
    }


def write_output(
    source: str,
    output: str,
    *,
    settings: Mapping[str, Any] = SETTINGS,
    schema: pa.Schema = SCHEMA,
    change: Mapping[str, Any] | None = None,
    embeddings: Mapping[str, Any] | None = None,
    rows_per_file: int = 4,
) -> Output:
    """Commit a row for every new object of a source.

    `change` replaces values in each of them, `embeddings` gives their vectors by name.
    """
    out = Output.open(output)
    out.bind(settings, schema)
    out.plan(Source(uri=source, include=("*",)), rows_per_file)
    for piece in out.pending():
        keys = out.read_piece(piece).select(["id", "uri", "etag"]).to_pylist()
        rows = [key | {"run_id": "run"} | row(key["uri"]) | (change or {}) for key in keys]
        if embeddings is not None:
            for each in rows:
                each["embedding"] = embeddings[each["uri"].rpartition("/")[2]]
        known = [{name: each.get(name) for name in schema.names} for each in rows]
        out.commit(piece, pa.Table.from_pylist(known, schema=schema))
    return out
