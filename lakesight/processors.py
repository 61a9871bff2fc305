"""Pictures to arrays and texts to tokens, as a loaded model wants them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.base import TextReader
from lakesight.models.look import Picture, draw_view

ONE = (str, Path, bytes, Image.Image, np.ndarray)
"""What one picture is, and a sequence of several is not."""


class ImageProcessor:
    """Pictures of any kind to the array that a model takes."""

    def __init__(self, view: ImageView) -> None:
        self.view = view
        """Size, fit and interpolation."""

    def __call__(self, pictures: Picture | Sequence[Picture]) -> npt.NDArray[np.uint8]:
        """Return `(N, height, width, 3)` uint8 RGB of N pictures, of one picture too.

        It is what `predict`, `extract_features`, `match` … of `LoadedModel.model` take: mean and
        deviation are part of the network. Raises UserError for a picture that cannot be read.
        """
        drawn = [draw_view(picture, self.view).pixels for picture in several(pictures)]
        return np.array(drawn, np.uint8).reshape(-1, self.view.height, self.view.width, 3)


class TextProcessor:
    """Texts to the tokens that a model reads."""

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader

    def __call__(self, texts: str | Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """Return `(S,)` token ids of each text, of one text too, S its own number of tokens.

        The model's own special tokens are there, padding is not. To an image-text model a text is
        what pictures are compared with; to a captioner a prompt, to an answerer a question, each
        behind the tokens that stand for the picture. Raises UserError for a text that the model
        cannot read.
        """
        every = several_texts(texts)
        try:
            return self._reader.tokens(every) if every else []
        except ValueError as error:
            raise UserError(str(error)) from error


def several(pictures: Picture | Sequence[Picture]) -> list[Picture]:
    """Return the pictures, of one too, as a list."""
    return [pictures] if isinstance(pictures, ONE) else list(pictures)


def several_texts(texts: str | Sequence[str]) -> list[str]:
    """Return the texts, of one too, as a list."""
    return [texts] if isinstance(texts, str) else list(texts)
