"""BLIP and BLIP-2 as image-text models: two towers, and a look at both together.

Shapes: see `lakesight.models.towers`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lakesight.models.blip2.pretraining import Blip2Retrieval, projected
from lakesight.models.pretrained import TorchOptions, load_weights
from lakesight.models.towers import Encoded, Words


class Blip2Towers:
    """BLIP-2's first stage: one vector per query token of the Q-Former."""

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        from transformers import Blip2ForImageTextRetrieval

        retrieval = load_weights(Blip2ForImageTextRetrieval, folder, options)
        in_float32(retrieval.vision_projection, retrieval.text_projection, retrieval.itm_head)
        self.model = Blip2Retrieval(retrieval)
        config = retrieval.config
        self.words = Words(folder, config.qformer_config.max_position_embeddings, retrieval.device)
        self.dim = int(config.image_text_hidden_size)
        self.num_queries = int(config.num_query_tokens)
        self.seen_shape = seen_shape(config.vision_config)

    def images(self, pixels: Tensor) -> Encoded:
        """Encode pixels `(B, 3, H, W)`: the queries' states and vectors."""
        seen = self.model.see(pixels)
        states = self.model.query(seen)
        return Encoded(states, self.model.image_projection(states), seen)

    def texts(self, texts: Sequence[str]) -> Encoded:
        """Encode T texts: the vector is that of the first token, [CLS]."""
        ids, mask = self.words(texts)
        states = self.model.read(ids, mask)
        return Encoded(states, self.model.text_projection(states), mask)

    def fuse(self, seen: Tensor, texts: Sequence[str]) -> tuple[Tensor, None]:
        """Return the queries' states `(B, Q, H)` of pairs; all of them count."""
        return self.model.fuse(seen, *self.words(texts)), None

    def match(self, seen: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the logits `(B, 2)` of whether each pair belongs together: no, yes."""
        return self.model.match(seen, *self.words(texts))


class BlipTowers:
    """BLIP: one vector a picture, and a text encoder that can look at the patches."""

    num_queries = 1

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        from transformers import BlipForImageTextRetrieval

        self._model: Any = load_weights(BlipForImageTextRetrieval, folder, options)
        model, config = self._model, self._model.config
        in_float32(model.vision_proj, model.text_proj, model.itm_head)
        self.words = Words(folder, config.text_config.max_position_embeddings, self._model.device)
        self.dim = int(config.image_text_hidden_size)
        self.seen_shape = seen_shape(config.vision_config)

    def images(self, pixels: Tensor) -> Encoded:
        """Encode pixels `(B, 3, H, W)`: the patches' states, and the vector of [CLS]."""
        seen = self._model.vision_model(pixel_values=pixels).last_hidden_state
        return Encoded(seen, projected(self._model.vision_proj, seen[:, :1]), seen)

    def texts(self, texts: Sequence[str]) -> Encoded:
        """Encode T texts: the vector is that of [CLS]."""
        ids, mask = self.words(texts)
        states = self._model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return Encoded(states, projected(self._model.text_proj, states[:, 0]), mask)

    def fuse(self, seen: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the tokens' states `(B, S, H)` of pairs, and their mask `(B, S)`."""
        ids, mask = self.words(texts)
        states: Tensor = self._model.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=seen.new_ones(seen.shape[:2], dtype=torch.long),
        ).last_hidden_state
        return states, mask

    def match(self, seen: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the logits `(B, 2)` of whether each pair belongs together: no, yes."""
        return projected(self._model.itm_head, self.fuse(seen, texts)[0][:, 0])


def in_float32(*heads: nn.Module) -> None:
    """Have heads compute in float32: cosines and logits rank, and a bfloat16 has 8 bits of each."""
    for head in heads:
        head.float()


def seen_shape(config: Any) -> tuple[int, int]:
    """Return `(N, H)` of a vision tower's last layer: a state for each patch, and one for all."""
    return (config.image_size // config.patch_size) ** 2 + 1, int(config.hidden_size)
