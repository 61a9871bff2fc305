"""The pictures of a report: fetched, made small, with what was seen drawn over them."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from lakesight.draw import label_of, overlay
from lakesight.lake.fetch import FetchError, fetch
from lakesight.media.decode import Decoded, MediaError
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.view import ImageView
from lakesight.models.base import Image
from workflows.report_counts import Columns

VIEW = ImageView(width=800, height=800, fit="letterbox", interpolation="area")
JPEG_QUALITY = 80
NUM_CLASSES = 3
MIN_CLASS_SCORE = 0.01


@dataclass(frozen=True)
class Line:
    """Something that was written about a picture."""

    text: str
    about: str = ""
    """A question, or an object."""
    score: str = ""


@dataclass(frozen=True)
class Picture:
    """One figure: a picture, or why there is none, and what was seen on it."""

    uri: str
    name: str
    size: str
    src: str
    """A data: URI; empty where the picture cannot be had any more."""
    problem: str
    shown_width: int
    shown_height: int
    overlay: str
    """SVG, escaped."""
    caption: str
    classes: str
    lines: Sequence[Line]
    """The n best captions, answers, and what was written of each object."""


def pictures(rows: pa.Table, columns: Columns, limits: Mapping[str, Any]) -> list[Picture]:
    """Return a figure for each row, in order; the pictures are read from where they were seen."""
    seen = _read(rows, Limits.model_validate(limits))
    return [_picture(row, columns, seen[place]) for place, row in enumerate(rows.to_pylist())]


def _read(rows: pa.Table, limits: Limits) -> dict[int, Decoded | MediaError | FetchError]:
    """Return by row what became of its picture."""
    missing: dict[int, Decoded | MediaError | FetchError] = {}

    def encoded() -> Iterator[tuple[int, bytes]]:
        in_flight = {"max_bytes_in_flight": 64 << 20, "concurrency": 8}
        for row, data in fetch(rows, max_object_bytes=limits.max_bytes, **in_flight):
            if isinstance(data, FetchError):
                missing[row] = data
            else:
                yield row, data

    with DecodePool([VIEW], limits, num_processes=2) as pool:
        found = dict(pool.decode(encoded()))
    return missing | found


def _picture(
    row: Mapping[str, Any], columns: Columns, seen: Decoded | MediaError | FetchError
) -> Picture:
    texts = [row[name] for name in columns.texts if row[name]]
    ranked = [each for name in columns.classes for each in (row[name] or ())[:NUM_CLASSES]]
    found = [each for name in columns.detections for each in row[name] or ()]
    small = _small(seen) if isinstance(seen, Decoded) else None
    height, width = small.shape[:2] if small is not None else (0, 0)
    return Picture(
        uri=row["uri"],
        name=unquote(row["uri"].rstrip("/").rpartition("/")[2]),
        size=f"{row['width']} \N{MULTIPLICATION SIGN} {row['height']}",
        src=_data_uri(small) if small is not None else "",
        problem="" if isinstance(seen, Decoded) else f"The picture is not shown: {seen}",
        shown_width=width,
        shown_height=height,
        overlay=overlay(row["width"], row["height"], found),
        caption=" · ".join(texts),
        classes=" · ".join(
            f"{each['label']} {each['score']:.2f}"
            for each in ranked
            if each["score"] >= MIN_CLASS_SCORE
        ),
        lines=[*_captions(row, columns), *_answers(row, columns), *_crops(row, columns)],
    )


def _captions(row: Mapping[str, Any], columns: Columns) -> Iterator[Line]:
    for name in columns.captions:
        for each in row[name] or ():
            yield Line(each["text"], score=_score(each["score"]))


def _answers(row: Mapping[str, Any], columns: Columns) -> Iterator[Line]:
    for name in columns.answers:
        for each in row[name] or ():
            yield Line(each["answer"], each["question"], _score(each["score"]))


def _crops(row: Mapping[str, Any], columns: Columns) -> Iterator[Line]:
    """Yield what was written of each object, behind the object as its box is labelled."""
    for name in columns.crops:
        objects = row.get(columns.described.get(name, "detections")) or ()
        for text, each in zip_longest(row[name] or (), objects):
            if text is not None:
                yield Line(text, "" if each is None else label_of(each))


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _small(picture: Decoded) -> Image:
    """Return the picture without the view's border, and never larger than the original."""
    (view,) = picture.views
    place = VIEW.place(picture.width, picture.height)
    width, height = VIEW.drawn_size(picture.width, picture.height)
    left, top = int(place.offset_x), int(place.offset_y)
    cut: Image = view[top : top + height, left : left + width]
    if picture.width < width:
        size_wh = (picture.width, picture.height)
        cut = np.asarray(cv2.resize(cut, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return cut


def _data_uri(pixels: Image) -> str:
    data = simplejpeg.encode_jpeg(pixels.copy(), quality=JPEG_QUALITY, colorsubsampling="420")
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
