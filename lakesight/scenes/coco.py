"""Scenes as COCO JSON: objects, captions, and questions in the same manner.

The format: cocodataset.org, "data format". `category_id` is our `class_id` + 1; image and
annotation ids count from 1 (pycocotools takes an annotation of id 0 for none).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lakesight.scenes.drawing import NUM_KEYPOINTS
from lakesight.scenes.shapes import LABELS

Row = Mapping[str, Any]
"""A row of `lakesight.scenes.rows.PICTURE`."""

Rows = Callable[[], Iterable[Row]]
"""Reads the rows from the first one on."""


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


def write(path: Path, rows: Rows, annotations: Callable[[Iterable[Row]], Iterable[Any]]) -> None:
    """Write one COCO file, a line per entry, without holding all rows in memory."""
    sections: dict[str, Iterable[Any]] = {
        "categories": categories(),
        "images": images(rows()),
        "annotations": annotations(rows()),
    }
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "Lakesight scenes"}')
        for name, entries in sections.items():
            file.write(f',\n"{name}": [')
            for number, entry in enumerate(entries):
                file.write(",\n" if number else "\n")
                json.dump(entry, file)
            file.write("\n]")
        file.write("}\n")
