"""The two towers of an image-text model, one class per way of calling transformers.

Shapes: B pictures, T texts, S tokens, N states of H units (patches, tokens or queries), Q vectors a
picture (1, or BLIP-2's queries) of D dimensions. Vectors are not normalised here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from lakesight.models.pretrained import TorchOptions, load_tokenizer, load_weights


class Encoded(NamedTuple):
    """What a tower made of pictures or texts."""

    states: Tensor
    """`(B, N, H)` the last layer's; BLIP-2's queries for pictures. `(T, S, H)` for texts."""
    vectors: Tensor
    """`(B, Q, D)` of pictures, `(T, D)` of texts."""
    seen: Tensor
    """`(B, N, H)` the vision tower's last layer, which `fuse` and `match` start from; of texts, the
    mask `(T, S)` of their tokens."""


class Towers(Protocol):
    """Pictures and texts into one space."""

    dim: int
    num_queries: int
    words: "Words"
    """How texts become tokens."""

    def images(self, pixels: Tensor) -> Encoded:
        """Encode pixels `(B, 3, H, W)`."""
        ...

    def texts(self, texts: Sequence[str]) -> Encoded:
        """Encode T texts; one longer than the model's context is cut."""
        ...


@runtime_checkable
class FusingTowers(Towers, Protocol):
    """Towers that also look at a picture and a text together."""

    seen_shape: tuple[int, int]
    """`(N, H)` of what `images` saw."""

    def fuse(self, seen: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Return the states `(B, N, H)` of pairs, from what `images` saw, and which count."""
        ...

    def match(self, seen: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the logits `(B, 2)` of whether each pair belongs together (ITM): no, yes."""
        ...


class Words:
    """Texts to padded tokens, on the model's device."""

    def __init__(
        self,
        folder: Path,
        max_tokens: int,
        device: torch.device,
        padding: Literal["longest", "max_length"] = "longest",
    ) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.lowers = False
        """Whether texts are read in lower case."""
        self._max_tokens, self._device, self._padding = max_tokens, device, padding

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return `(ids, mask)`, both `(T, S)`; a text beyond the context is cut."""
        tokens = self.tokenizer(
            [text.lower() for text in texts] if self.lowers else list(texts),
            padding=self._padding,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._device)
        return tokens["input_ids"], tokens["attention_mask"]


class ClipTowers:
    """CLIP: texts padded to the longest, padding masked."""

    num_queries = 1
    _padding: Literal["longest", "max_length"] = "longest"

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        from transformers import AutoModel

        self._model = load_weights(AutoModel, folder, options)
        max_tokens = self._model.config.text_config.max_position_embeddings
        self.words = Words(folder, max_tokens, self._model.device, self._padding)
        self.dim: int = self._dim(self._model.config)

    def _dim(self, config: Any) -> int:
        return int(config.projection_dim)

    def images(self, pixels: Tensor) -> Encoded:
        """Encode pixels `(B, 3, H, W)`, one vector each."""
        return _of_pictures(self._model.get_image_features(pixel_values=pixels))

    def texts(self, texts: Sequence[str]) -> Encoded:
        """Encode T texts."""
        ids, mask = self.words(texts)
        out = self._model.get_text_features(input_ids=ids, attention_mask=mask)
        return Encoded(out.last_hidden_state, out.pooler_output, mask)


class SiglipTowers(ClipTowers):
    """SigLIP, and SigLIP2 at a fixed size: texts padded to the whole context, padding not masked.

    SigLIP reads its text vector off the last position and was trained to attend to the padding.
    SigLIP2 was trained on lower case, which Gemma's tokenizer does not make.
    """

    _padding = "max_length"

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        super().__init__(folder, options)
        self.words.lowers = type(self.words.tokenizer).__name__.startswith("Gemma")

    def _dim(self, config: Any) -> int:
        return int(config.vision_config.hidden_size)

    def texts(self, texts: Sequence[str]) -> Encoded:
        """Encode T texts; every one of the context's positions counts."""
        ids, _ = self.words(texts)
        out = self._model.get_text_features(input_ids=ids)
        return Encoded(out.last_hidden_state, out.pooler_output, torch.ones_like(ids))


class NaflexTowers(SiglipTowers):
    """SigLIP2 NaFlex on a square grid of patches, as transformers gives it for a square picture."""

    def images(self, pixels: Tensor) -> Encoded:
        """Encode pixels `(B, 3, H, W)`, one vector each."""
        side: int = self._model.config.vision_config.patch_size
        patches, grid = to_patches(pixels, side)
        num_pictures, num_patches = patches.shape[:2]
        whole = torch.ones(num_pictures, num_patches, dtype=torch.int32, device=pixels.device)
        out = self._model.get_image_features(
            pixel_values=patches,
            pixel_attention_mask=whole,
            spatial_shapes=torch.tensor([grid] * num_pictures, device=pixels.device),
        )
        return _of_pictures(out)


def to_patches(pixels: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut `(B, 3, H, W)` into `(B, rows * columns, side * side * 3)` and `(rows, columns)`."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // side, width // side
    grid = pixels.reshape(batch, channels, rows, side, columns, side)
    patches = grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
    return patches, (rows, columns)


def _of_pictures(out: Any) -> Encoded:
    """Return transformers' image features, with one vector a picture."""
    states = out.last_hidden_state
    return Encoded(states, out.pooler_output.unsqueeze(1), states)
