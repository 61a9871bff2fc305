"""An exported BLIP-2, called as torch's is: what generates and ranks does not know the difference.

The loops are transformers' own (`generate`), so are the caches; only the passes are graphs. Shapes:
see `lakesight.models.blip2.parts`.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import cache_utils as typed_in_part
from transformers import modeling_outputs

from lakesight.models.blip2 import parts
from lakesight.models.blip2.language import Blip2Language
from lakesight.models.blip2.parts import call, keys
from lakesight.models.blip2.towers import seen_shape
from lakesight.models.checkpoints import Graphs
from lakesight.models.towers import Encoded, Words

hf: Any = transformers  # typed only in part
cache_utils: Any = typed_in_part


class ExportedLanguage(Blip2Language):
    """`Blip2Language` whose passes are graphs."""

    def __init__(self, folder: Path, graphs: Graphs) -> None:
        """Open the graphs of a BLIP-2 that writes; its configuration lies in `folder`."""
        config = hf.Blip2Config.from_pretrained(folder, local_files_only=True)
        words = WordTable(graphs)
        kind = Continuing if config.use_decoder_only_language_model else Answering
        super().__init__(
            SimpleNamespace(
                config=config,
                device=torch.device("cpu"),
                language_model=kind(config.text_config, words, graphs),
                get_input_embeddings=lambda: words,
            )
        )
        self._vision, self._qformer = graphs.open(parts.VISION), graphs.open(parts.QFORMER)

    def see(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels `(B, 3, H, W)` to features `(B, N, hidden)`."""
        (seen,) = call(self._vision, pixels=pixels)
        return seen

    def prefix(self, seen: Tensor) -> Tensor:
        """Map features to what stands for the picture in the language model, `(B, Q, D)`."""
        (prefix,) = call(self._qformer, features=seen)
        return prefix


class ExportedTowers:
    """BLIP-2's first stage; see `lakesight.models.blip2.towers.Blip2Towers`."""

    def __init__(self, folder: Path, graphs: Graphs) -> None:
        """Open the graphs of a BLIP-2 that retrieves; its configuration lies in `folder`."""
        config = hf.Blip2Config.from_pretrained(folder, local_files_only=True)
        context = config.qformer_config.max_position_embeddings
        self.words = Words(folder, context, torch.device("cpu"))
        self._vision, self._queries = graphs.open(parts.VISION), graphs.open(parts.QUERIES)
        self._texts, self._pairs = graphs.open(parts.TEXTS), graphs.open(parts.PAIRS)
        self.dim = int(config.image_text_hidden_size)
        self.num_queries = int(config.num_query_tokens)
        self.seen_shape = seen_shape(config.vision_config)

    def images(self, pixels: Tensor) -> Encoded:
        """Encode pixels `(B, 3, H, W)`: the queries' states and vectors."""
        (seen,) = call(self._vision, pixels=pixels)
        states, vectors = call(self._queries, features=seen)
        return Encoded(states, vectors, seen)

    def texts(self, texts: Sequence[str]) -> Encoded:
        """Encode T texts: the vector is that of the first token, [CLS]."""
        ids, mask = self.words(texts)
        states, vectors = call(self._texts, ids=ids, mask=mask)
        return Encoded(states, vectors, mask)

    def fuse(self, seen: Tensor, texts: Sequence[str]) -> tuple[Tensor, None]:
        """Return the queries' states `(B, Q, H)` of pairs; all of them count."""
        return self._pair(seen, texts)[0], None

    def match(self, seen: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the logits `(B, 2)` of whether each pair belongs together: no, yes."""
        return self._pair(seen, texts)[1]

    def _pair(self, seen: Tensor, texts: Sequence[str]) -> list[Tensor]:
        ids, mask = self.words(texts)
        return call(self._pairs, features=seen, ids=ids, mask=mask)


class WordTable:
    """The table of word embeddings."""

    def __init__(self, graphs: Graphs) -> None:
        self._graph = graphs.open(parts.WORDS)

    def __call__(self, ids: Tensor) -> Tensor:
        """Map ids `(B, S)` to embeddings `(B, S, D)`."""
        (embeds,) = call(self._graph, ids=ids)
        return embeds


class Decoder(hf.PreTrainedModel, hf.GenerationMixin):  # type: ignore[misc]
    """What `generate` wants of a language model, without weights."""

    def __init__(self, config: Any, words: WordTable, graphs: Graphs) -> None:
        super().__init__(config)
        self._words, self._graph = words, graphs.open(parts.DECODER)

    @property
    def device(self) -> torch.device:
        """Return where the tensors are."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Return what the graphs take and give."""
        return torch.float32

    def _decode(
        self, embeds: Tensor, mask: Tensor, keep: int, past: Any, cross: dict[str, Tensor]
    ) -> Tensor:
        """Return the logits of the last `keep` tokens, 0 being all; the past grows by the new."""
        config, length = self.config, embeds.shape[1]
        num_layers = config.num_hidden_layers
        if isinstance(config, hf.T5Config):
            num_layers, heads, units = config.num_decoder_layers, config.num_heads, config.d_kv
        else:
            heads = config.num_attention_heads
            units = config.hidden_size // heads
        before = _kept(past) or [embeds.new_zeros((len(embeds), heads, 0, units))] * 2 * num_layers
        logits, *present = call(
            self._graph,
            embeds=embeds,
            mask=mask.long(),
            wanted=torch.arange(length - keep if keep else 0, length),
            **cross,
            **dict(zip(keys("past", num_layers), before, strict=True)),
        )
        _put(past, present)
        return logits


class Continuing(Decoder):
    """An OPT: what it writes follows its prompt."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int = 0,
        **settings: Any,
    ) -> Any:
        """Return logits and cache, as `OPTForCausalLM.forward`; the cache comes always."""
        past = cache_utils.DynamicCache() if past_key_values is None else past_key_values
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self._words(input_ids)
        total = past.get_seq_length() + inputs_embeds.shape[1]
        mask = attention_mask
        if mask is None:
            mask = torch.ones(len(inputs_embeds), total, dtype=torch.long)
        logits = self._decode(inputs_embeds, mask, logits_to_keep, past, {})
        return modeling_outputs.CausalLMOutputWithPast(logits=logits, past_key_values=past)


class Encoder(nn.Module):
    """The encoder of a T5."""

    main_input_name = "input_ids"

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self._graph = graphs.open(parts.ENCODER)

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, **settings: Any) -> Any:
        """Return the states of a prompt, `(B, S, D)`."""
        (states,) = call(self._graph, embeds=inputs_embeds, mask=attention_mask.long())
        return modeling_outputs.BaseModelOutput(last_hidden_state=states)


class Answering(Decoder):
    """A T5: what it writes answers its prompt."""

    def __init__(self, config: Any, words: WordTable, graphs: Graphs) -> None:
        super().__init__(config, words, graphs)
        self.encoder = Encoder(graphs)
        self._cross = graphs.open(parts.CROSS)

    def get_encoder(self, modality: str | None = None) -> Encoder:
        """Return what reads the prompt."""
        return self.encoder

    def forward(
        self,
        decoder_input_ids: Tensor,
        attention_mask: Tensor,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int = 0,
        **settings: Any,
    ) -> Any:
        """Return logits and cache, as `T5ForConditionalGeneration.forward`."""
        if encoder_outputs is None:
            encoder_outputs = self.encoder(inputs_embeds, attention_mask)
        past = past_key_values
        if past is None:
            past = cache_utils.EncoderDecoderCache(*(cache_utils.DynamicCache() for _ in range(2)))
        seen = past.cross_attention_cache
        if not seen.get_seq_length():
            _put(seen, call(self._cross, states=encoder_outputs.last_hidden_state))
        names = keys("cross", self.config.num_decoder_layers)
        logits = self._decode(
            self._words(decoder_input_ids),
            attention_mask,
            logits_to_keep,
            past.self_attention_cache,
            dict(zip(names, _kept(seen), strict=True)),
        )
        return modeling_outputs.Seq2SeqLMOutput(logits=logits, past_key_values=past)


def _kept(cache: Any) -> list[Tensor]:
    """Return the keys and values of every layer of a cache; nothing of an empty one."""
    if not cache.get_seq_length():
        return []
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def _put(cache: Any, tensors: Sequence[Tensor]) -> None:
    """Let a cache hold these keys and values of every layer, in place of what it holds."""
    pairs = list(zip(tensors[::2], tensors[1::2], strict=True))
    cache.layers.extend(cache_utils.DynamicLayer() for _ in pairs[len(cache.layers) :])
    for layer, pair in zip(cache.layers, pairs, strict=True):
        layer.lazy_initialization(*pair)
        layer.keys, layer.values = pair
