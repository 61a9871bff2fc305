"""Scenes as rows of our own tables: one row per picture, or per frame of a video."""

from typing import Any

import pyarrow as pa

from lakesight.masks import encode
from lakesight.scenes.drawing import Drawing, SceneObject
from lakesight.scenes.scene import Scene
from lakesight.scenes.video import Frame
from lakesight.schemas import BOX, KEYPOINTS, MASK, OBB

OBJECT = [
    pa.field("box", BOX),
    pa.field("class_id", pa.int32()),
    pa.field("label", pa.string()),
    pa.field("colour", pa.string()),
    pa.field("texture", pa.string()),
    pa.field("mask", MASK),
    pa.field("keypoints", KEYPOINTS),
    pa.field("obb", OBB),
    pa.field("area", pa.int32()),
    pa.field("visible_fraction", pa.float32()),
]
"""`mask` holds the visible pixels, `keypoints` have COCO's visibility for a score, and of `obb` the
width is the longer side: see `Figure.rotated_box`."""

QUESTION = pa.struct([(name, pa.string()) for name in ("kind", "question", "answer")])
PICTURE = pa.schema(
    [
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("objects", pa.list_(pa.struct(OBJECT)), nullable=False),
        pa.field("label", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("description", pa.string()),
        pa.field("questions", pa.list_(QUESTION)),
        pa.field("background", pa.struct([("tone", pa.string()), ("kind", pa.string())])),
    ]
)
"""`tables/train.parquet` and `tables/val.parquet`."""

FRAME = pa.schema(
    [
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("video", pa.int32(), nullable=False),
        pa.field("frame_index", pa.int64(), nullable=False),
        pa.field("timestamp_s", pa.float64(), nullable=False),
        pa.field(
            "objects",
            pa.list_(pa.struct([*OBJECT, pa.field("track_id", pa.int32())])),
            nullable=False,
        ),
    ]
)
"""`tables/videos.parquet`: `track_id` is an object's identity within its video."""


def picture_row(scene: Scene, file_name: str) -> dict[str, Any]:
    """Return a picture as a row of `PICTURE`."""
    return {
        **_size(scene, file_name),
        "objects": [object_row(scene, found) for found in scene.objects],
        "label": scene.label,
        "labels": list(scene.labels),
        "captions": list(scene.captions),
        "description": scene.description,
        "questions": [vars(question) for question in scene.questions],
        "background": vars(scene.background),
    }


def frame_row(frame: Frame, file_name: str, video: int) -> dict[str, Any]:
    """Return a frame as a row of `FRAME`."""
    return {
        **_size(frame, file_name),
        "video": video,
        "frame_index": frame.frame_index,
        "timestamp_s": frame.timestamp_s,
        "objects": [
            {**object_row(frame, found), "track_id": found.instance_id} for found in frame.objects
        ],
    }


def _size(drawing: Drawing, file_name: str) -> dict[str, Any]:
    height, width = drawing.instances.shape
    return {"file_name": file_name, "width": width, "height": height}


def object_row(drawing: Drawing, found: SceneObject) -> dict[str, Any]:
    """Return one object of a drawing as it stands in `objects`."""
    return {
        "box": found.box_xyxy,
        "class_id": found.class_id,
        "label": found.label,
        "colour": found.colour,
        "texture": found.texture,
        "mask": encode(drawing.mask(found)).as_coco(),
        "keypoints": found.keypoints.tolist(),
        "obb": found.rotated_box,
        "area": found.area_px,
        "visible_fraction": found.visible_fraction,
    }
