"""What a model said of pictures: Arrow, to be looked at, drawn, and given to others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa
from PIL import Image

from lakesight import for_supervision
from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.look import Picture, draw_view, name_of
from lakesight.paint import paint, write
from lakesight.schemas import object_fields

if TYPE_CHECKING:
    from supervision import Classifications, Detections, KeyPoints

MAX_SIDE = 8192
"""Larger pictures are drawn on at this size."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a model said of one picture."""

    value: Any
    """As it would stand in a row: a list of objects or classes, a text, a vector."""
    field: pa.Field
    """The column that it would stand in."""
    picture: Picture
    size_wh: tuple[int, int]
    """Of the picture in pixels, upright; boxes are in these."""

    def draw(self, max_side: int = MAX_SIDE) -> Image.Image:
        """Return the picture with objects or text on it, reduced to `max_side` pixels a side.

        A picture that was given as a file is read again. Raises UserError for what cannot be drawn.
        """
        scale = min(1.0, max_side / max(self.size_wh))
        width, height = (max(1, round(side * scale)) for side in self.size_wh)
        view = ImageView(width=width, height=height, fit="squash", interpolation="area")
        pixels = draw_view(self.picture, view).pixels
        if "box" in self._names:
            return Image.fromarray(paint(pixels, self.value or (), size_wh=self.size_wh))
        return Image.fromarray(write(pixels, self._lines()))

    def to_supervision(self) -> "Detections | Classifications":
        """Return objects as `supervision.Detections`, classes as `supervision.Classifications`.

        Raises UserError for anything else.
        """
        if "box" in self._names:
            return for_supervision.detections(self.value or (), self.size_wh)
        if "class_id" in self._names:
            return for_supervision.classifications(self.value or ())
        raise UserError(f"{self.field.name!r} holds {self.field.type}: no objects, and no classes")

    def to_key_points(self) -> "KeyPoints":
        """Return the objects that have keypoints as `supervision.KeyPoints`."""
        if "keypoints" not in self._names:
            raise UserError(f"{self.field.name!r} holds {self.field.type}: no keypoints")
        return for_supervision.key_points(self.value or ())

    @property
    def _names(self) -> frozenset[str]:
        """Return the fields of each object or class; none of a text or a vector."""
        return object_fields(self.field.type)

    def _lines(self) -> list[str]:
        """Return a text, classes with their scores, or texts with theirs."""
        if pa.types.is_string(self.field.type):
            return [self.value or ""]
        said = next((name for name in ("label", "text") if name in self._names), None)
        if said is None:
            raise UserError(f"{self.field.name!r} holds {self.field.type}, which cannot be drawn")
        return [f"{one[said]} {one['score']:.2f}" for one in self.value or ()]


@dataclass(frozen=True, eq=False)
class Results(Sequence[Result]):
    """What a model said of pictures, in their order."""

    column: pa.Array
    """One value a picture, exactly as `annotate` would write it."""
    field: pa.Field
    """Name and type of the column."""
    pictures: Sequence[Picture]
    sizes_wh: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> "Results": ...

    def __getitem__(self, index: int | slice) -> "Result | Results":
        if isinstance(index, slice):
            column = self.column.take(list(range(len(self))[index]))
            return Results(column, self.field, self.pictures[index], self.sizes_wh[index])
        place = range(len(self))[index]
        value = self.column[place].as_py()
        return Result(value, self.field, self.pictures[place], self.sizes_wh[place])

    def __repr__(self) -> str:
        return f"<Results: {self.field.name} of {len(self):,} pictures>"

    def to_table(self) -> pa.Table:
        """Return `uri` (null of what lay in memory), `width`, `height` and the column."""
        return pa.table(
            {
                "uri": pa.array([name_of(one) for one in self.pictures], pa.string()),
                "width": pa.array([width for width, _ in self.sizes_wh], pa.int32()),
                "height": pa.array([height for _, height in self.sizes_wh], pa.int32()),
                self.field.name: self.column,
            }
        )

    def to_supervision(self) -> "list[Detections | Classifications]":
        """See `Result.to_supervision`, for every picture."""
        return [one.to_supervision() for one in self]

    def draw(self, max_side: int = MAX_SIDE) -> list[Image.Image]:
        """See `Result.draw`, for every picture."""
        return [one.draw(max_side) for one in self]
