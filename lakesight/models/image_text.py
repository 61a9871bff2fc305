"""Image and text in one space: CLIP, SigLIP, SigLIP2, BLIP, BLIP-2's first stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lakesight import schemas
from lakesight.errors import UserError
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.columns import own_column
from lakesight.models.features import Features, Level, Mode, joined
from lakesight.models.look import distinct
from lakesight.models.pretrained import TorchOptions, require_finite
from lakesight.models.seer import Seer, open_seer
from lakesight.models.towers import FusingTowers

MATCHES = "matches"
"""In a card's contract: false where the matching head is as it was drawn."""
TEXTS_PER_CALL = 256
PICTURES_PER_CALL = 64
"""With a text or without one. More of either are taken in parts, but by `predict`, whose caller
chooses the batch."""


class ImageTextOptions(TorchOptions):
    """What to write of a picture's vectors."""

    vector_dtype: Literal["float16", "float32"] = "float16"
    """float16 halves the table; it moves a cosine by about 0.0005 at most."""
    write: Literal["vectors", "features"] = "vectors"
    """features: what matching (ITM) starts from, the last layer of the vision tower, as float16 in
    `features`; 70 KB to 700 KB a picture, for `search --rerank`."""
    queries: Literal["mean", "all"] = "mean"
    """BLIP-2 has 32 vectors a picture and scores a text by the best of them. mean: their normalised
    mean in `embedding`, an approximation that any index takes. all: every one in `embeddings`, for
    exact scores."""


class ImageText:
    """L2-normalised vectors of pictures, and of texts to compare them with."""

    Options = ImageTextOptions
    concurrent = False

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        options: ImageTextOptions,
        runtime: RuntimeName,
        seer: Seer | None = None,
    ) -> None:
        self.card, self.options = card, options
        self._seer = seer or open_seer(card, folder, options, runtime)
        self._towers = self._seer.towers
        self.view, self.runs_on = self._seer.view, self._seer.runs_on
        self.output = pa.field(own_column("embed", dict(options)), self._type())

    def _type(self) -> pa.DataType:
        if self._writes_features:
            count, width = self._matching().seen_shape
            return pa.list_(pa.list_(pa.float16(), width), count)
        vector = schemas.embedding_type(
            self._towers.dim, pa.type_for_alias(self.options.vector_dtype)
        )
        if self.options.queries == "mean":
            return vector
        if self._towers.num_queries == 1:
            raise UserError(
                f"queries=all was asked of {self.card.name}, which has one vector a picture: "
                "leave queries at mean, or choose a BLIP-2 retrieval checkpoint"
            )
        return pa.list_(vector)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `embedding` of each view, or its `embeddings`, or its `features`."""
        if not views:
            return pa.array([], self.output.type)
        with self._seer.lock:
            return self._features(views) if self._writes_features else self._vectors(views)

    @property
    def _writes_features(self) -> bool:
        return self.options.write == "features"

    @torch.inference_mode()
    def _vectors(self, views: Sequence[Image]) -> pa.Array:
        vectors = _to_numpy(self._seer.see(views).vectors)  # (B, Q, D)
        if self.options.queries == "mean":
            return _vectors(_unit(vectors.mean(axis=1)), self.output.type)
        counts = np.arange(len(views) + 1, dtype=np.int32) * vectors.shape[1]
        flat = _vectors(vectors.reshape(-1, vectors.shape[2]), self.output.type.value_type)
        return pa.ListArray.from_arrays(pa.array(counts), flat, type=self.output.type)

    @torch.inference_mode()
    def _features(self, views: Sequence[Image]) -> pa.Array:
        seen = _floats(self._seer.see(views).seen).astype(np.float16)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(seen.ravel()), seen.shape[2])
        return pa.FixedSizeListArray.from_arrays(rows, type=self.output.type)

    @torch.inference_mode()
    def embed_images(self, views: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return `(len(views), Q, D)` L2-normalised vectors; Q is 1, or BLIP-2's queries."""
        parts = [_to_numpy(self._seer.see(views[part]).vectors) for part in _pictures(views)]
        nothing = np.empty((0, self._towers.num_queries, self._towers.dim), np.float32)
        return np.concatenate([nothing, *parts])

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return `(len(texts), D)` L2-normalised vectors. Texts beyond the context are cut."""
        parts = [_to_numpy(self._towers.texts(texts[part]).vectors) for part in _texts(texts)]
        return np.concatenate([np.empty((0, self._towers.dim), np.float32), *parts])

    def tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """See `lakesight.models.base.TextReader`; texts beyond the context are cut."""
        ids, mask = self._towers.words(texts)
        return [row[seen.bool()].cpu().numpy() for row, seen in zip(ids, mask, strict=True)]

    @torch.inference_mode()
    def extract_features(
        self,
        images: Sequence[Image] = (),
        texts: Sequence[str] = (),
        mode: Mode = "image",
        level: Level = "projected",
    ) -> Features:
        """Return what the model makes of B pictures, T texts, or B pairs of both.

        ============  ==================================  ===================================
        mode          level "projected": unit vectors     level "hidden": the last layer
        ============  ==================================  ===================================
        image         `(B, Q, D)`; Q is 1, or BLIP-2's    `(B, N, H)` patches; of BLIP-2 the
                      queries                             queries, `(B, Q, H)`
        text          `(T, D)`                            `(T, S, H)` tokens, with their mask
        multimodal    -                                   `(B, S, H)` tokens of BLIP, `(B, Q,
                                                          H)` queries of BLIP-2
        ============  ==================================  ===================================

        D is the space that pictures and texts share, H the model's width. Tokens beyond a text's
        own are padding, and their states say nothing. Raises UserError where the mode's input is
        missing, pairs are uneven, or the model has no such features.
        """
        if mode == "text":
            _require(texts, "texts", mode)
            return joined([self._of_texts(texts[part], level) for part in _texts(texts)])
        _require(images, "images", mode)
        if mode == "image":
            return joined([self._of_images(images[part], level) for part in _pictures(images)])
        if level == "projected":
            raise UserError("pairs have no projected features: ask for level='hidden'")
        _require(texts, "texts", mode)
        _even(images, texts)
        return joined([self._of_pairs(images[part], texts[part]) for part in _pictures(images)])

    def _of_texts(self, texts: Sequence[str], level: Level) -> Features:
        read = self._towers.texts(texts)
        if level == "projected":
            return Features(_to_numpy(read.vectors), None)
        return Features(_floats(read.states), _mask(read.seen))

    def _of_images(self, images: Sequence[Image], level: Level) -> Features:
        found = self._seer.see(images)
        projected = level == "projected"
        return Features(_to_numpy(found.vectors) if projected else _floats(found.states), None)

    def _of_pairs(self, images: Sequence[Image], texts: Sequence[str]) -> Features:
        states, mask = self._fusing().fuse(self._seer.see(images).seen, texts)
        return Features(_floats(states), None if mask is None else _mask(mask))

    @torch.inference_mode()
    def match(self, images: Sequence[Image], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the probability `(B,)` that each picture and its text belong together (ITM).

        A picture that is given several times in a row is seen once. Raises UserError for a model
        without a matching head, and for uneven pairs.
        """
        _even(images, texts)
        towers = self._matching()
        parts = []
        for part in _pictures(images):
            views, rows = distinct(images[part])
            parts.append(_floats(towers.match(self._seer.see(views).seen[rows], texts[part])))
        return _chances(parts)

    def match_features(
        self, features: npt.NDArray[np.floating[Any]], texts: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return what `match` does, of pictures that were seen before: `features` `(B, N, H)`.

        The vision tower does not run again; a pair costs a pass of the Q-Former, or of BLIP's text
        encoder.
        """
        return _chances([self.match_logits(features, texts)])

    @torch.inference_mode()
    def match_logits(
        self, features: npt.NDArray[np.floating[Any]], texts: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return the logits `(B, 2)`, no and yes, that `match_features` are the softmax of.

        That of yes is what a search ranks by: probabilities near 1 are all alike.
        """
        _even(features, texts)
        towers = self._matching()
        parts = []
        for part in _pictures(features):
            seen = torch.from_numpy(np.array(features[part], np.float32))
            parts.append(_floats(towers.match(seen.to(*self._seer.place), texts[part])))
        return np.concatenate([np.empty((0, 2), np.float32), *parts])

    @torch.inference_mode()
    def see_features(self, views: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return `(len(views), N, H)`, what `match_features` and `match_logits` start from.

        `write=features` keeps it in float16. Raises UserError for a model without a matching head.
        """
        nothing = np.empty((0, *self._matching().seen_shape), np.float32)
        parts = [_floats(self._seer.see(views[part]).seen) for part in _pictures(views)]
        return np.concatenate([nothing, *parts])

    def _fusing(self) -> FusingTowers:
        """Return the towers, where they look at a picture and a text together."""
        if not isinstance(self._towers, FusingTowers):
            raise UserError(
                f"{self.card.name} never looks at a picture and a text together: take a retrieval "
                "checkpoint of BLIP or BLIP-2"
            )
        return self._towers

    def _matching(self) -> FusingTowers:
        """Return the towers, where they were trained to match."""
        towers = self._fusing()
        if not self.card.contract.get(MATCHES, True):
            raise UserError(
                f"nobody trained {self.card.name} to match pictures with texts (ITM): train it "
                "further with --loss.match 1, or do without"
            )
        return towers

    def similarity(self, views: Sequence[Image], texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return cosines `(len(views), len(texts))`; of BLIP-2 the best query's, its ITC score."""
        cosines = self.embed_images(views) @ self.embed_text(texts).T  # (B, Q, T)
        best: npt.NDArray[np.float32] = cosines.max(axis=1)
        return best


def _require(given: Sequence[Any], name: str, mode: Mode) -> None:
    if not len(given):
        raise UserError(f"mode={mode!r} needs {name}, and got none")


def _pictures(given: Sequence[Any] | npt.NDArray[Any]) -> Iterator[slice]:
    """Yield what of pictures, or of pairs, goes through the model at once."""
    return (slice(at, at + PICTURES_PER_CALL) for at in range(0, len(given), PICTURES_PER_CALL))


def _texts(given: Sequence[str]) -> Iterator[slice]:
    return (slice(at, at + TEXTS_PER_CALL) for at in range(0, len(given), TEXTS_PER_CALL))


def _chances(logits: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the probability `(B,)` of yes, of parts of logits `(…, 2)`."""
    every = torch.from_numpy(np.concatenate([np.empty((0, 2), np.float32), *logits]))
    chances: npt.NDArray[np.float32] = every.softmax(dim=1)[:, 1].numpy()
    return chances


def _even(images: Sequence[Any] | npt.NDArray[Any], texts: Sequence[str]) -> None:
    if len(images) != len(texts):
        raise UserError(f"pairs want as many pictures as texts: got {len(images)} and {len(texts)}")


def _floats(states: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = require_finite(states).cpu().numpy()
    return array


def _mask(mask: Tensor) -> npt.NDArray[np.bool_]:
    array: npt.NDArray[np.bool_] = mask.bool().cpu().numpy()
    return array


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
