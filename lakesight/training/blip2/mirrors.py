"""Pictures in mirrors: up to eight of each, where what is said of one is true of all of them."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.base import Frozen

Scalar = TypeVar("Scalar", bound=np.generic)


class Mirrors(Frozen):
    """How often a picture is mirrored in training, each way by itself.

    For texts that say nothing of left and right, or above and below.
    """

    horizontal: float = Field(default=0.0, ge=0, le=1)
    """Left and right change places."""
    vertical: float = Field(default=0.0, ge=0, le=1)
    """Top and bottom change places."""
    diagonal: float = Field(default=0.0, ge=0, le=1)
    """Rows and columns change places, of a square view; with the others also a turn by a quarter.
    """

    @property
    def any(self) -> bool:
        """Whether any picture is mirrored."""
        return bool(self.horizontal or self.vertical or self.diagonal)


def mirrored(
    grid: npt.NDArray[Scalar], mirrors: Mirrors, draws: npt.NDArray[np.float64]
) -> npt.NDArray[Scalar]:
    """Return `(rows, columns, …)` of a picture, such as its pixels, as three draws in [0, 1) say.

    The same draws mirror all that belongs to a picture alike.
    """
    chances = (mirrors.horizontal, mirrors.vertical, mirrors.diagonal)
    horizontal, vertical, diagonal = draws < np.array(chances)
    grid = grid[:, ::-1] if horizontal else grid
    grid = grid[::-1] if vertical else grid
    return np.ascontiguousarray(np.swapaxes(grid, 0, 1) if diagonal else grid)


def check_square(view: ImageView, mirrors: Mirrors) -> None:
    """Raise UserError where rows and columns shall change places, and are not as many."""
    if mirrors.diagonal and view.width != view.height:
        raise UserError(
            f"mirrors.diagonal is for square views, and the model sees {view.width} x {view.height}"
        )
