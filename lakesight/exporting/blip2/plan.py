"""Which graphs a BLIP-2 is cut into, each with an example of its inputs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lakesight.exporting.blip2.networks import (
    OptStep,
    Pairs,
    Prefix,
    Queries,
    T5Cross,
    T5Encoder,
    T5Step,
    Texts,
    Vision,
    Words,
)
from lakesight.models.blip2 import parts
from lakesight.models.blip2.language import Blip2Language
from lakesight.models.blip2.parts import keys
from lakesight.models.blip2.pretraining import Blip2Retrieval

IDS, MASK = torch.tensor([[3, 4, 5], [5, 4, 3]]), torch.ones(2, 3, dtype=torch.long)
NEW, KEPT, SEEN = 4, 3, 5
"""Tokens that are new, of the past, and of the encoder, in the examples."""


class Part(NamedTuple):
    """A graph that is to be written."""

    file: str
    module: nn.Module
    inputs: dict[str, Tensor]
    """An example of each, in the order of `forward`; no side that is open is 0 or 1."""
    open_sides: dict[str, tuple[int, ...]]
    """Of each input, the sides that may have any length."""
    outputs: list[str]
    speaks: bool = False
    """Whether it is of the language model, whose weights may have fewer bits."""


def of_writer(language: Blip2Language, height: int, width: int) -> list[Part]:
    """Return the graphs of a BLIP-2 that writes; pictures are of that size in pixels."""
    config = language.model.config
    found = [
        vision(language.model.vision_model, height, width),
        Part(
            parts.QFORMER,
            Prefix(language),
            {"features": torch.rand(2, 5, config.vision_config.hidden_size)},
            {"features": (0, 1)},
            ["prefix"],
        ),
        Part(parts.WORDS, Words(language), {"ids": IDS}, {"ids": (0, 1)}, ["embeds"]),
    ]
    model = language.model.language_model
    return [*found, *(_opt(model) if language.continues else _t5(model))]


def vision(tower: Any, height: int, width: int) -> Part:
    """Return the vision tower's graph."""
    pixels = torch.rand(2, 3, height, width)
    return Part(parts.VISION, Vision(tower), {"pixels": pixels}, {"pixels": (0,)}, ["features"])


def _opt(model: Any) -> list[Part]:
    config = model.config
    heads = config.num_attention_heads
    past = _kept("past", config.num_hidden_layers, heads, config.hidden_size // heads, KEPT)
    width = config.word_embed_proj_dim
    return [_step(OptStep(model), width, NEW + KEPT, past, config.num_hidden_layers)]


def _t5(model: Any) -> list[Part]:
    config = model.config
    layers = config.num_decoder_layers
    shape = layers, config.num_heads, config.d_kv
    kept = _kept("cross", *shape, SEEN) | _kept("past", *shape, KEPT)
    states, mask = torch.rand(2, SEEN, config.d_model), torch.ones(2, SEEN, dtype=torch.long)
    return [
        Part(
            parts.ENCODER,
            T5Encoder(model),
            {"embeds": states, "mask": mask},
            {"embeds": (0, 1), "mask": (0, 1)},
            ["states"],
            speaks=True,
        ),
        Part(
            parts.CROSS,
            T5Cross(model),
            {"states": states},
            {"states": (0, 1)},
            keys("cross", layers),
            speaks=True,
        ),
        _step(T5Step(model), config.d_model, SEEN, kept, layers),
    ]


def _step(
    module: nn.Module, width: int, num_masked: int, kept: dict[str, Tensor], num_layers: int
) -> Part:
    inputs = {
        "embeds": torch.rand(2, NEW, width),
        "mask": torch.ones(2, num_masked, dtype=torch.long),
        "wanted": torch.tensor([0, NEW - 1]),
    }
    sides: dict[str, tuple[int, ...]] = {"embeds": (0, 1), "mask": (0, 1), "wanted": (0,)}
    return Part(
        parts.DECODER,
        module,
        inputs | kept,
        sides | dict.fromkeys(kept, (0, 2)),
        ["logits", *keys("present", num_layers)],
        speaks=True,
    )


def _kept(name: str, layers: int, heads: int, units: int, length: int) -> dict[str, Tensor]:
    return {key: torch.rand(2, heads, length, units) for key in keys(name, layers)}


def of_retriever(model: Blip2Retrieval, height: int, width: int) -> list[Part]:
    """Return the graphs of a BLIP-2 that retrieves."""
    config = model.retrieval.config
    features = {"features": torch.rand(2, SEEN, config.vision_config.hidden_size)}
    words = {"ids": IDS, "mask": MASK}
    sides: dict[str, tuple[int, ...]] = {"ids": (0, 1), "mask": (0, 1)}
    seen: dict[str, tuple[int, ...]] = {"features": (0, 1)}
    return [
        vision(model.retrieval.vision_model, height, width),
        Part(parts.QUERIES, Queries(model), features, seen, ["states", "vectors"]),
        Part(parts.TEXTS, Texts(model), words, sides, ["states", "vectors"]),
        Part(parts.PAIRS, Pairs(model), features | words, seen | sides, ["states", "logits"]),
    ]
