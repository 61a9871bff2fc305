"""What becomes a graph of its own: plain tensors in, plain tensors out, the past among them.

Names and shapes: `lakesight.models.blip2.parts`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import cache_utils as typed_in_part

from lakesight.models.blip2.language import Blip2Language
from lakesight.models.blip2.pretraining import Blip2Retrieval

cache_utils: Any = typed_in_part


class Vision(nn.Module):
    """Pixels to features."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """See `parts.VISION`."""
        seen: Tensor = self.tower(pixel_values=pixels).last_hidden_state
        return seen


class Prefix(nn.Module):
    """Features to what stands for the picture."""

    def __init__(self, language: Blip2Language) -> None:
        super().__init__()
        self.language = language

    def forward(self, features: Tensor) -> Tensor:
        """See `parts.QFORMER`."""
        return self.language.prefix(features)


class Words(nn.Module):
    """Ids to embeddings."""

    def __init__(self, language: Blip2Language) -> None:
        super().__init__()
        self.table = language.model.get_input_embeddings()

    def forward(self, ids: Tensor) -> Tensor:
        """See `parts.WORDS`."""
        embeds: Tensor = self.table(ids)
        return embeds


class OptStep(nn.Module):
    """OPT, with its past as tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, embeds: Tensor, mask: Tensor, wanted: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """See `parts.DECODER`."""
        cache = Past(past)
        count = embeds.shape[1]
        states = self.model.model.decoder(
            inputs_embeds=embeds,
            attention_mask=causal(mask, count),
            position_ids=(mask.cumsum(1) * mask - 1)[:, -count:],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return self.model.lm_head(states.index_select(1, wanted)), *cache.tensors()


class T5Encoder(nn.Module):
    """T5's encoder."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, embeds: Tensor, mask: Tensor) -> Tensor:
        """See `parts.ENCODER`."""
        states: Tensor = self.encoder(
            inputs_embeds=embeds, attention_mask=bias(mask[:, None, None])
        ).last_hidden_state
        return states


class T5Cross(nn.Module):
    """What T5's decoder makes of the encoder's states, once a prompt."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.blocks = model.decoder.block

    def forward(self, states: Tensor) -> tuple[Tensor, ...]:
        """See `parts.CROSS`."""
        attentions: list[Any] = [block.layer[1].EncDecAttention for block in self.blocks]
        return tuple(
            project(states).unflatten(2, (one.n_heads, one.key_value_proj_dim)).transpose(1, 2)
            for one in attentions
            for project in (one.k, one.v)
        )


class T5Step(nn.Module):
    """T5's decoder, with its past and the encoder's part as tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.head = model.decoder, model.lm_head
        self.scale = model.model_dim**-0.5 if model.config.scale_decoder_outputs else 1.0

    def forward(
        self, embeds: Tensor, mask: Tensor, wanted: Tensor, *kept: Tensor
    ) -> tuple[Tensor, ...]:
        """See `parts.DECODER`; `kept` are the encoder's, then the past."""
        half = len(kept) // 2
        cross, past = Past(kept[:half]), Past(kept[half:])
        cache = cache_utils.EncoderDecoderCache(past, cross)
        cache.is_updated = dict.fromkeys(range(half // 2), True)
        count = embeds.shape[1]
        known = embeds.new_ones((embeds.shape[0], kept[half].shape[2] + count))
        states = self.decoder(
            inputs_embeds=embeds,
            attention_mask=causal(known, count),
            encoder_hidden_states=embeds,  # only asked whether it is there: its keys are in `cross`
            encoder_attention_mask=bias(mask[:, None, None]),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return self.head(states.index_select(1, wanted) * self.scale), *past.tensors()


class Queries(nn.Module):
    """Features to the queries' states and vectors."""

    def __init__(self, model: Blip2Retrieval) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See `parts.QUERIES`."""
        states = self.model.query(features)
        return states, self.model.image_projection(states)


class Texts(nn.Module):
    """Texts to states and vectors."""

    def __init__(self, model: Blip2Retrieval) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `parts.TEXTS`."""
        states = self.model.read(ids, mask)
        return states, self.model.text_projection(states)


class Pairs(nn.Module):
    """A picture and a text together."""

    def __init__(self, model: Blip2Retrieval) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `parts.PAIRS`."""
        states = self.model.fuse(features, ids, mask)
        return states, self.model.retrieval.itm_head(states).mean(dim=1)


class Past(cache_utils.DynamicCache):  # type: ignore[misc]
    """A cache that begins with tensors, and whose length may be 0 without asking whether it is."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for key, value in zip(tensors[::2], tensors[1::2], strict=True):
            layer = cache_utils.DynamicLayer()
            layer.lazy_initialization(key, value)
            layer.keys, layer.values = key, value
            self.layers.append(layer)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the tokens that are kept."""
        length: int = self.layers[layer_idx].keys.shape[-2]
        return length

    def tensors(self) -> list[Tensor]:
        """Return what is kept, layer by layer."""
        return [tensor for layer in self.layers for tensor in (layer.keys, layer.values)]


def bias(allowed: Tensor) -> Tensor:
    """Return what is added to attention: 0, or the least number where it is not allowed.

    Not infinity: a row of padding, to which nothing is allowed, would be no number.
    """
    return torch.where(allowed.bool(), 0.0, torch.finfo(torch.float32).min)


def causal(mask: Tensor, count: int) -> Tensor:
    """Return the bias `(B, 1, count, P + count)` of the last `count` tokens of a mask."""
    places = torch.arange(mask.shape[1])
    before = places[None] <= places[mask.shape[1] - count :, None]
    return bias(before[None, None] & mask[:, None, None].bool())
