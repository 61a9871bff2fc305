"""The Arrow contract of every table that Lakesight writes.

Types are declared here and never inferred: an empty batch must not write `list<null>`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

LISTING = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
"""What listing a source yields: one row per object, whatever the source is."""

WORDS = pa.schema(
    [
        pa.field("prompt", pa.string()),
        pa.field("questions", pa.list_(pa.string())),
        pa.field("candidates", pa.list_(pa.string())),
    ]
)
"""What a list may say of each picture, for the models that are told it (`Source.words`)."""

MANIFEST = pa.schema([pa.field("id", pa.string(), nullable=False), *LISTING, *WORDS])
"""A frozen listing; `id` is `row_id(uri, etag)`, and words are null where none were asked for.

Where a list says something of a picture, the etag is `told_etag`: other words are other work."""

TOLD = "+told-"
"""What parts an object's etag from the digest of what a list says of it."""

ERROR = pa.struct([("stage", pa.string()), ("type", pa.string()), ("message", pa.string())])

ROW = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("frame_index", pa.int64()),
        pa.field("timestamp_s", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", ERROR),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""The columns that every row has; a model adds exactly one more (see `output_schema`)."""

BOX = pa.list_(pa.float32(), 4)
"""`(x_min, y_min, x_max, y_max)` in absolute pixels of the original image after EXIF rotation."""

KEYPOINTS = pa.list_(pa.list_(pa.float32(), 3))
"""`(x, y, score)` per keypoint, in the same pixels as `BOX`."""

MASK = pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])
"""COCO's RLE: `size` is (height, width) of the original image, `counts` its compressed string."""

OBB = pa.list_(pa.float32(), 5)
"""A rotated box, `(x_centre, y_centre, width, height, angle)`: in the same pixels as `BOX`, and in
radians from x towards y (clockwise on the screen), -pi/4 to 3/4 pi. The width need not be the long
side. `box` is then the upright box around it, clipped to the image; the rotated one is whole."""


def detection_type(
    *, keypoints: bool = False, masks: bool = False, angles: bool = False
) -> pa.DataType:
    """Return the type of a `detections` column: one list per image, one struct per object.

    `keypoints`, `masks` and `angles` add the fields `keypoints`, `mask` and `obb`.
    """
    fields = [
        pa.field("box", BOX),
        pa.field("score", pa.float32()),
        pa.field("class_id", pa.int32()),
        pa.field("label", pa.string()),
    ]
    if keypoints:
        fields.append(pa.field("keypoints", KEYPOINTS))
    if masks:
        fields.append(pa.field("mask", MASK))
    if angles:
        fields.append(pa.field("obb", OBB))
    return pa.list_(pa.struct(fields))


def object_fields(kind: pa.DataType) -> frozenset[str]:
    """Return the names of what each object of a column has; none where it holds no objects."""
    is_objects = pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)
    return frozenset(field.name for field in kind.value_type) if is_objects else frozenset()


CLASSES = pa.list_(
    pa.struct([("class_id", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
)
CAPTIONS = pa.list_(
    pa.struct([("text", pa.string()), ("score", pa.float32()), ("prompt", pa.string())])
)
CROP_CAPTIONS = pa.list_(pa.string())
"""One for each object of the detections, in their order; null for an object that has none."""
ANSWERS = pa.list_(
    pa.struct([("question", pa.string()), ("answer", pa.string()), ("score", pa.float32())])
)


def embedding_type(dim: int, dtype: pa.DataType | None = None) -> pa.DataType:
    """Return the type of an L2-normalised `embedding` column: `dim` float16 unless told."""
    return pa.list_(dtype or pa.float16(), dim)


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds one vector a row, or a list of them."""
    inner = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_fixed_size_list(inner) and pa.types.is_floating(inner.value_type))


def output_schema(outputs: Sequence[pa.Field]) -> pa.Schema:
    """Return the schema of an output: `ROW`, then each model's column.

    A model may refine a column that an earlier one added (pose adds keypoints to `detections`): the
    later field replaces the earlier one in place.
    """
    columns = {field.name: field for field in ROW}
    for field in outputs:
        if field.name in ROW.names:
            raise ValueError(f"a model cannot write the column {field.name!r}: every row has it")
        columns[field.name] = field
    return pa.schema(list(columns.values()))


def told_etag(etag: str, words: Mapping[str, Any]) -> str:
    """Return an etag that changes with the object, and with what a list says of it.

    `words` by their column; null ones say nothing, and where all are it is the object's own.
    """
    said = {name: words[name] for name in sorted(words) if words[name] is not None}
    if not said:
        return etag
    text = json.dumps(said).encode()  # in ASCII: any text will do
    return f"{etag}{TOLD}{hashlib.blake2b(text, digest_size=8).hexdigest()}"


def object_etag(etag: str) -> str:
    """Return the etag of the object itself."""
    return etag.partition(TOLD)[0]


def row_id(uri: str, etag: str, frame_index: int | None = None) -> str:
    """Return the key of a row: 128 bits of BLAKE2b over uri, etag and frame, as 32 hex digits."""
    frame = "" if frame_index is None else str(frame_index)
    text = "\0".join((uri, etag, frame))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
