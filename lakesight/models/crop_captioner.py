"""Captions of what a detector found: each object is cut out and described on its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from lakesight import schemas
from lakesight.errors import UserError
from lakesight.media.resize import draw
from lakesight.media.view import ImageView
from lakesight.models.author import Author
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.captioner import Captioner, CaptionerOptions
from lakesight.models.detection import sizes

CROPS_A_PASS = 32
"""Objects that are described together, of however many pictures."""


class CropCaptionerOptions(CaptionerOptions):
    """How to describe objects: as whole pictures, one caption each."""

    detections: str = "detections"
    """The column of objects: that of --detect, or the one that you named for it."""
    min_score: float = Field(default=0.0, ge=0, le=1)
    """Objects that score less get null."""

    @model_validator(mode="after")
    def _one_caption(self) -> Self:
        if self.num_captions > 1:
            raise ValueError(
                f"an object gets one caption, but num_captions is {self.num_captions}: leave it at "
                "1"
            )
        return self


class Crop(NamedTuple):
    """An object cut out of its picture, as the captioner sees it."""

    row: int
    number: int
    """Its place among the picture's objects."""
    pixels: Image


class CropCaptioner:
    """Writes `crop_captions`: one for each object, in the order of the objects.

    A row's own `prompt` is about its whole picture: here the option counts.
    """

    Options = CropCaptionerOptions
    concurrent = False

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        options: CropCaptionerOptions,
        runtime: RuntimeName,
        author: Author | None = None,
    ) -> None:
        assert card.view is not None
        self.card, self.view, self.options = card, card.view, options
        self.output = pa.field("crop_captions", schemas.CROP_CAPTIONS)
        self._captioner = Captioner(card, folder, options, runtime, author)
        self.runs_on = self._captioner.runs_on

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return a list of captions for each view, as long as its list of objects.

        Null for an object below `min_score` or without area inside the picture; a null list where
        the detector failed. Raises `UserError` where there is no column of objects.
        """
        column = self.options.detections
        if column not in rows.column_names:
            raise UserError(
                f"captions of objects need a detector, and there is no column {column!r}: give "
                "--detect too"
            )
        found = rows[column].to_pylist()
        captions = [None if objects is None else [None] * len(objects) for objects in found]
        crops = self._crops(views, sizes(rows), found)
        for start in range(0, len(crops), CROPS_A_PASS):
            part = crops[start : start + CROPS_A_PASS]
            prompts = [self._captioner.prompt] * len(part)
            written = self._captioner.write([crop.pixels for crop in part], prompts)
            for crop, (best, *_) in zip(part, written, strict=True):
                cast("list[str | None]", captions[crop.row])[crop.number] = best.text
        return pa.array(captions, self.output.type)

    def tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """See `Captioner.tokens`."""
        return self._captioner.tokens(texts)

    def _crops(
        self,
        views: Sequence[Image],
        sizes_wh: Sequence[tuple[int, int]],
        found: Sequence[list[dict[str, Any]] | None],
    ) -> list[Crop]:
        crops = []
        for row, objects in enumerate(found):
            for number, one in enumerate(objects or ()):
                if one["score"] < self.options.min_score:
                    continue
                inside = cut(views[row], self.view, sizes_wh[row], one["box"])
                if inside.size:
                    crops.append(Crop(row, number, _drawn(inside, self._captioner.view)))
        return crops


def cut(
    image: Image, view: ImageView, size_wh: tuple[int, int], box_xyxy: Sequence[float]
) -> Image:
    """Return the pixels of a view that a box in original pixels covers, even in part.

    Empty for a box without area inside the picture.
    """
    width, height = size_wh
    limits = np.array((width, height) * 2, np.float64)
    box = np.clip(np.asarray(box_xyxy, np.float64), 0, limits)
    if not (box[2] > box[0] and box[3] > box[1]):
        return image[:0, :0]
    left, top, right, bottom = view.place(width, height).to_view(box).round(6)
    rows = slice(max(0, int(np.floor(top))), int(np.ceil(bottom)))
    columns = slice(max(0, int(np.floor(left))), int(np.ceil(right)))
    return image[rows, columns]


def _drawn(pixels: Image, view: ImageView) -> Image:
    height, width = pixels.shape[:2]
    out = np.empty((view.height, view.width, 3), np.uint8)
    draw(np.ascontiguousarray(pixels), (width, height), view, out)
    return out
