"""Image and text in one space through transformers: CLIP, SigLIP, SigLIP2, BLIP-2's ITC head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lakesight import schemas
from lakesight.errors import UserError
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import (
    Pixels,
    TorchOptions,
    read_config,
    require_finite,
    require_torch,
)
from lakesight.models.towers import load_towers

TEXTS_PER_CALL = 256


class ImageTextOptions(TorchOptions):
    """What to write of a picture's vectors."""

    vector_dtype: Literal["float16", "float32"] = "float16"
    """float16 halves the table; it moves a cosine by about 0.0005 at most."""
    queries: Literal["mean", "all"] = "mean"
    """BLIP-2 has 32 vectors a picture and scores a text by the best of them. mean: their normalised
    mean in `embedding`, an approximation that any index takes. all: every one in `embeddings`, for
    exact scores."""


class ImageText:
    """L2-normalised vectors of pictures, and of texts to compare them with."""

    Options = ImageTextOptions
    concurrent = False

    def __init__(
        self, card: ModelCard, folder: Path, options: ImageTextOptions, runtime: RuntimeName
    ) -> None:
        require_torch(card, runtime)
        self.card, self.options = card, options
        preprocessor = read_preprocessor(folder, card.family)
        self.view = preprocessor.view
        self._towers = load_towers(read_config(folder)["model_type"], folder, options)
        self._pixels = Pixels(preprocessor, options.torch_device(), options.torch_dtype())
        self.runs_on = f"torch on {self._pixels.device.type}"
        self.output = self._field()

    def _field(self) -> pa.Field:
        vector = schemas.embedding_type(
            self._towers.dim, pa.type_for_alias(self.options.vector_dtype)
        )
        if self.options.queries == "mean":
            return pa.field("embedding", vector)
        if self._towers.num_queries == 1:
            raise UserError(
                f"queries=all was asked of {self.card.name}, which has one vector a picture: "
                "leave queries at mean, or choose a BLIP-2 retrieval checkpoint"
            )
        return pa.field("embeddings", pa.list_(vector))

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `embedding` of each view, or its `embeddings` with `queries="all"`."""
        if not views:
            return pa.array([], self.output.type)
        vectors = self.embed_images(views)  # (B, Q, D)
        if self.options.queries == "mean":
            return _vectors(_unit(vectors.mean(axis=1)), self.output.type)
        counts = np.arange(len(views) + 1, dtype=np.int32) * vectors.shape[1]
        flat = _vectors(vectors.reshape(-1, vectors.shape[2]), self.output.type.value_type)
        return pa.ListArray.from_arrays(pa.array(counts), flat, type=self.output.type)

    @torch.inference_mode()
    def embed_images(self, views: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return `(len(views), Q, D)` L2-normalised vectors; Q is 1, or BLIP-2's queries."""
        return _to_numpy(self._towers.images(self._pixels(views)))

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return `(len(texts), D)` L2-normalised vectors. Texts beyond the context are cut."""
        parts = [
            _to_numpy(self._towers.texts(texts[start : start + TEXTS_PER_CALL]))
            for start in range(0, len(texts), TEXTS_PER_CALL)
        ]
        return np.concatenate([np.empty((0, self._towers.dim), np.float32), *parts])

    def similarity(self, views: Sequence[Image], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return cosines `(len(views), len(texts))`; of BLIP-2 the best query's, its ITC score."""
        cosines = self.embed_images(views) @ self.embed_text(texts).T  # (B, Q, T)
        best: npt.NDArray[np.float32] = cosines.max(axis=1)
        return best


def _to_numpy(vectors: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = normalize(require_finite(vectors), dim=-1).cpu().numpy()
    return array


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit


def _vectors(vectors: npt.NDArray[np.float32], type_: pa.DataType) -> pa.Array:
    """Return `(N, D)` vectors as N fixed-size lists of the type's own precision."""
    values = vectors.astype(type_.value_type.to_pandas_dtype()).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(values), type=type_)
