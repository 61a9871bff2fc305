"""Scenes as COCO JSON: objects, captions, and questions in the same manner; videos with identities.

The format: cocodataset.org, "data format"; of videos as TAO (arXiv:2005.10356) and YouTube-VIS have
it, `videos` and `tracks` beside it. `category_id` is our `class_id` + 1; all other ids count from 1
(pycocotools takes an annotation of id 0 for none).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from lakesight.scenes.drawing import NUM_KEYPOINTS
from lakesight.scenes.shapes import LABELS

Row = Mapping[str, Any]
"""A row of `lakesight.scenes.rows.PICTURE`, or of videos `FRAME`."""

Rows = Callable[[], Iterable[Row]]
"""Reads the rows from the first one on."""

Sections = Mapping[str, Iterable[Any]]
"""What a file holds, beside `info`."""


def categories() -> list[dict[str, Any]]:
    """Return the classes; all share the same keypoints, of which each uses the first few."""
    keypoints = [f"point_{number + 1}" for number in range(NUM_KEYPOINTS)]
    return [
        {
            "id": class_id + 1,
            "name": label,
            "supercategory": "shape",
            "keypoints": keypoints,
            "skeleton": [],
        }
        for class_id, label in enumerate(LABELS)
    ]


def images(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield COCO's images; `file_name` is within the split's folder, as in COCO's own files."""
    for image_id, row in enumerate(rows, start=1):
        name = Path(row["file_name"]).name
        size = {"width": row["width"], "height": row["height"]}
        yield {"id": image_id, "file_name": name, **size, "label": row["label"]}


def instances(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield one annotation per object, with the rotated box as `obb`."""
    pairs = (
        (image_id, found) for image_id, row in enumerate(rows, start=1) for found in row["objects"]
    )
    for annotation_id, (image_id, found) in enumerate(pairs, start=1):
        yield {"id": annotation_id, "image_id": image_id, **_instance(found)}


def _instance(found: Row) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = found["box"]
    keypoints = found["keypoints"]
    return {
        "category_id": found["class_id"] + 1,
        "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
        "area": found["area"],
        "iscrowd": 0,
        "segmentation": found["mask"],
        "keypoints": [value for x, y, seen in keypoints for value in (x, y, int(seen))],
        "num_keypoints": sum(seen > 0 for _, _, seen in keypoints),
        "obb": found["obb"],
    }


def captions(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield one annotation per caption."""
    pairs = (
        (image_id, caption)
        for image_id, row in enumerate(rows, start=1)
        for caption in row["captions"]
    )
    for caption_id, (image_id, caption) in enumerate(pairs, start=1):
        yield {"id": caption_id, "image_id": image_id, "caption": caption}


def questions(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield one annotation per question: its kind, its text and its answer."""
    pairs = (
        (image_id, question)
        for image_id, row in enumerate(rows, start=1)
        for question in row["questions"]
    )
    for question_id, (image_id, question) in enumerate(pairs, start=1):
        yield {"id": question_id, "image_id": image_id, **question}


def of_pictures(rows: Rows, annotations: Callable[[Iterable[Row]], Iterable[Any]]) -> Sections:
    """Return the file of one kind of annotations."""
    return {
        "categories": categories(),
        "images": images(rows()),
        "annotations": annotations(rows()),
    }


def of_videos(rows: Rows) -> Sections:
    """Return the file of videos, of which a frame is an image."""
    return {
        "categories": categories(),
        "videos": videos(rows()),
        "images": frames(rows()),
        "tracks": tracks(rows()),
        "annotations": tracked_instances(rows()),
    }


def videos(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield the videos; `length` counts frames."""
    for video, length, row in _lengths(rows):
        size = {"width": row["width"], "height": row["height"]}
        yield {"id": video + 1, "name": f"{video:06}", **size, "length": length}


def _lengths(rows: Iterable[Row]) -> Iterator[tuple[int, int, Row]]:
    """Yield number, frames and last frame of every video; rows are in the order of the videos."""
    last: Row | None = None
    for row in rows:
        if last is not None and row["video"] != last["video"]:
            yield last["video"], last["frame_index"] + 1, last
        last = row
    if last is not None:
        yield last["video"], last["frame_index"] + 1, last


def frames(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield the frames; `file_name` is within the folder of the videos."""
    for image_id, row in enumerate(rows, start=1):
        name = PurePosixPath(row["file_name"]).relative_to("videos")
        size = {"width": row["width"], "height": row["height"]}
        place = {"video_id": row["video"] + 1, "frame_index": row["frame_index"]}
        yield {"id": image_id, "file_name": str(name), **size, **place}


def tracks(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield every identity once, where it is first seen."""
    seen = 0
    for _, video_id, track_id, found in _tracked(rows):
        if track_id > seen:
            seen = track_id
            yield {"id": track_id, "video_id": video_id, "category_id": found["class_id"] + 1}


def tracked_instances(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield one annotation per object and frame; a `track_id` is of one object of one video."""
    for annotation_id, (image_id, video_id, track_id, found) in enumerate(_tracked(rows), start=1):
        ids = {"id": annotation_id, "image_id": image_id}
        yield {**ids, "video_id": video_id, "track_id": track_id, **_instance(found)}


def _tracked(rows: Iterable[Row]) -> Iterator[tuple[int, int, int, Row]]:
    """Yield every object with the ids of its image, its video and its identity."""
    numbers: dict[tuple[int, int], int] = {}
    for image_id, row in enumerate(rows, start=1):
        for found in row["objects"]:
            key = row["video"], found["track_id"]
            yield image_id, row["video"] + 1, numbers.setdefault(key, len(numbers) + 1), found


PICTURE_FILES: Mapping[str, Callable[[Rows], Sections]] = {
    "instances": partial(of_pictures, annotations=instances),
    "captions": partial(of_pictures, annotations=captions),
    "questions": partial(of_pictures, annotations=questions),
}
VIDEO_FILES: Mapping[str, Callable[[Rows], Sections]] = {"instances": of_videos}
"""The files of a split, by the beginning of their names."""


def write(path: Path, sections: Sections) -> None:
    """Write one COCO file, a line per entry, without holding all rows in memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "Lakesight scenes"}')
        for name, entries in sections.items():
            file.write(f',\n"{name}": [')
            for number, entry in enumerate(entries):
                file.write(",\n" if number else "\n")
                json.dump(entry, file)
            file.write("\n]")
        file.write("}\n")
