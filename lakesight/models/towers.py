"""The two towers of an image-text model, one class per way of calling transformers.

Shapes: B pictures, T texts, Q vectors a picture (1, or BLIP-2's queries), D dimensions. Vectors are
not normalised here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lakesight.errors import UserError
from lakesight.models.pretrained import TorchOptions, load_tokenizer, load_weights


class Towers(Protocol):
    """Pictures and texts into one space."""

    dim: int
    num_queries: int

    def images(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to `(B, Q, D)`."""
        ...

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Map T texts to `(T, D)`; one longer than the model's context is cut."""
        ...


class ClipTowers:
    """CLIP: texts padded to the longest, padding masked."""

    num_queries = 1

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        from transformers import AutoModel

        self._model = load_weights(AutoModel, folder, options)
        self._tokenizer = load_tokenizer(folder)
        self._max_tokens: int = self._model.config.text_config.max_position_embeddings
        self.dim: int = self._dim(self._model.config)

    def _dim(self, config: Any) -> int:
        return int(config.projection_dim)

    def images(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to `(B, 1, D)`."""
        features: Tensor = self._model.get_image_features(pixel_values=pixels).pooler_output
        return features.unsqueeze(1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Map T texts to `(T, D)`."""
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        features: Tensor = self._model.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return features


class SiglipTowers(ClipTowers):
    """SigLIP, and SigLIP2 at a fixed size: texts padded to the whole context, padding not masked.

    SigLIP reads its text vector off the last position and was trained to attend to the padding.
    SigLIP2 was trained on lower case, which Gemma's tokenizer does not make.
    """

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        super().__init__(folder, options)
        self._lowers = type(self._tokenizer).__name__.startswith("Gemma")

    def _dim(self, config: Any) -> int:
        return int(config.vision_config.hidden_size)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Map T texts to `(T, D)`."""
        tokens = self._tokenizer(
            [text.lower() for text in texts] if self._lowers else list(texts),
            padding="max_length",
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        features: Tensor = self._model.get_text_features(
            input_ids=tokens["input_ids"]
        ).pooler_output
        return features


class NaflexTowers(SiglipTowers):
    """SigLIP2 NaFlex on a square grid of patches, as transformers gives it for a square picture."""

    def images(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to `(B, 1, D)`."""
        side: int = self._model.config.vision_config.patch_size
        patches, grid = to_patches(pixels, side)
        num_pictures, num_patches = patches.shape[:2]
        whole = torch.ones(num_pictures, num_patches, dtype=torch.int32, device=pixels.device)
        features: Tensor = self._model.get_image_features(
            pixel_values=patches,
            pixel_attention_mask=whole,
            spatial_shapes=torch.tensor([grid] * num_pictures, device=pixels.device),
        ).pooler_output
        return features.unsqueeze(1)


def to_patches(pixels: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut `(B, 3, H, W)` into `(B, rows * columns, side * side * 3)` and `(rows, columns)`."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // side, width // side
    grid = pixels.reshape(batch, channels, rows, side, columns, side)
    patches = grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
    return patches, (rows, columns)


class Blip2Towers:
    """BLIP-2's contrastive (ITC) head: one vector per query token of the Q-Former."""

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        from transformers import Blip2ForImageTextRetrieval

        self._model = load_weights(Blip2ForImageTextRetrieval, folder, options)
        self._tokenizer = load_tokenizer(folder)
        config = self._model.config
        self._max_tokens: int = config.qformer_config.max_position_embeddings
        self.dim = int(config.image_text_hidden_size)
        self.num_queries = int(config.num_query_tokens)

    def images(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to `(B, Q, D)`."""
        seen = self._model.vision_model(pixel_values=pixels).last_hidden_state
        queries = self._model.query_tokens.expand(len(pixels), -1, -1)
        states = self._model.qformer(
            query_embeds=queries, encoder_hidden_states=seen
        ).last_hidden_state
        return self._project(self._model.vision_projection, states)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Map T texts to `(T, D)`: the state of the first token, [CLS]."""
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        states = self._model.qformer(
            query_embeds=self._model.embeddings(input_ids=tokens["input_ids"]),
            query_length=0,
            attention_mask=tokens["attention_mask"],
        ).last_hidden_state
        return self._project(self._model.text_projection, states[:, 0])

    def _project(self, projection: Any, states: Tensor) -> Tensor:
        """Project; the Q-Former stays in float32 whatever the rest is in."""
        projected: Tensor = projection(states.to(projection.weight.dtype))
        return projected


TOWERS: dict[str, type[ClipTowers] | type[Blip2Towers]] = {
    "clip": ClipTowers,
    "siglip": SiglipTowers,
    "siglip2": NaflexTowers,
    "blip-2": Blip2Towers,
}
"""By `model_type` of config.json."""


def load_towers(model_type: str, folder: Path, options: TorchOptions) -> Towers:
    """Return the towers of a checkpoint. Raises `UserError` for a type that is none of these."""
    if model_type not in TOWERS:
        raise UserError(
            f"{folder.name} is of type {model_type!r}: an image-text model is one of "
            f"{', '.join(TOWERS)}"
        )
    return TOWERS[model_type](folder, options)
