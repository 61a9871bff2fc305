"""How far an exported BLIP-2 is from its weights on torch: its numbers, and what it writes.

Shapes: B pictures, S prompt tokens, T steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from pydantic import Field
from torch import Tensor

from lakesight.exporting.blip2.plan import Part, of_retriever, of_writer
from lakesight.exporting.parity import Difference, difference
from lakesight.models.author import Author, exported_author
from lakesight.models.base import Frozen, Image, ModelCard
from lakesight.models.blip2.language import Blip2Language
from lakesight.models.captioner import Captioner
from lakesight.models.checkpoints import Graphs
from lakesight.models.image_text import ImageText
from lakesight.models.pretrained import TorchOptions, load_tokenizer, load_weights
from lakesight.models.seer import Seer
from lakesight.models.writers import Blip2Writer

hf: Any = transformers  # typed only in part
PLAIN = TorchOptions(device="cpu", dtype="float32")
STEPS = 8
"""Tokens whose logits are compared, each with all before it in the cache."""
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1, "max_new_tokens": 16},
    "beams": {"num_beams": 5, "max_new_tokens": 16},
}
PROMPTS = (None, "a photo of")
"""What the captions that are compared start from, picture by picture in turn."""
TEXTS = ("a red circle", "two blue stars above a yellow square", "nothing", "a dog on the beach")
"""What the pictures are matched with in turn."""
SHOWN = 5
"""Captions that are not the same, which a report shows."""


class Measured(Frozen):
    """An export on one engine."""

    parts: dict[str, Difference]
    """The largest difference of each part's numbers."""
    same: dict[str, float] = Field(default_factory=dict)
    """Of what writes: the share of captions that are the same, by search."""
    others: tuple[tuple[str, str], ...] = ()
    """Some of those that are not: of the weights, and of the export."""


class Compared(Protocol):
    """A BLIP-2 on torch, with its answers."""

    model: Any
    """Of transformers."""

    def plan(self) -> list[Part]:
        """Return the graphs that it is cut into."""
        ...

    def measure(self, graphs: Graphs) -> Measured:
        """Return how far an export is from it."""
        ...


class ComparedWriter:
    """A BLIP-2 that captions and answers."""

    def __init__(self, card: ModelCard, folder: Path, views: Sequence[Image]) -> None:
        self._card, self._folder, self._views = card, folder, views
        self.model = load_weights(hf.Blip2ForConditionalGeneration, folder, PLAIN)
        writer = Blip2Writer(self.model, load_tokenizer(folder), folder.name)
        self._author, self._language = Author(folder, PLAIN, writer), writer.language
        self._numbers, self._tokens = self._of(self._author, None)
        self._captions = self._written(self._author)

    def plan(self) -> list[Part]:
        """Return the graphs that it is cut into."""
        view = self._author.view
        return of_writer(self._language, view.height, view.width)

    def measure(self, graphs: Graphs) -> Measured:
        """Return how far an export is from it."""
        author = exported_author(self._folder, PLAIN, graphs)
        captions = self._written(author)
        numbers, _ = self._of(author, self._tokens)
        same, others = {}, []
        for search, wanted in self._captions.items():
            pairs = list(zip(wanted, captions[search], strict=True))
            same[search] = sum(one == other for one, other in pairs) / len(pairs)
            others += [pair for pair in pairs if pair[0] != pair[1]]
        return Measured(
            parts=_differences(self._numbers, numbers), same=same, others=tuple(others[:SHOWN])
        )

    def _written(self, author: Author) -> dict[str, list[str]]:
        """Return the best caption of each picture by each search."""
        found = {}
        for search, settings in SEARCHES.items():
            options = Captioner.Options(device="cpu", dtype="float32", **settings)
            captioner = Captioner(self._card, self._folder, options, "auto", author)
            room = author.writer.room(options.max_new_tokens)
            prompts = [
                author.writer.prompt(PROMPTS[number % len(PROMPTS)], room)
                for number in range(len(self._views))
            ]
            found[search] = [best.text for best, *_ in captioner.write(self._views, prompts)]
        return found

    @torch.inference_mode()
    def _of(self, author: Author, tokens: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        """Return the numbers of every part, and the tokens that were written, unless given."""
        writer = _writer(author)
        language = writer.language
        seen = language.see(author.pixels(self._views))
        prefix = language.prefix(seen)
        prompts = [writer.prompt(None, writer.room(STEPS))] * len(self._views)
        ids, mask = writer.padded(prompts)
        logits, tokens = stepped(language, prefix, ids, mask, tokens)
        return {"features": seen, "queries": prefix, "logits": logits}, tokens


def stepped(
    language: Blip2Language, prefix: Tensor, ids: Tensor, mask: Tensor, tokens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the logits of `STEPS` steps `(B, T, vocabulary)` and the tokens taken `(B, T)`.

    Each step runs on the cache of those before. Tokens that are not given are the likeliest.
    """
    model: Any = language.model.language_model
    embeds = language.embed(prefix, ids)
    if language.continues:
        out = model(inputs_embeds=embeds, attention_mask=mask, use_cache=True, logits_to_keep=1)
    else:
        encoded = model.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
        start = torch.full((len(ids), 1), language.model.config.text_config.decoder_start_token_id)
        out = model(
            encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=start, use_cache=True
        )
    found, taken = [out.logits[:, -1]], []
    for step in range(STEPS - 1):
        best = found[-1].argmax(dim=-1) if tokens is None else tokens[:, step]
        taken.append(best)
        cache = out.past_key_values
        if language.continues:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            out = model(
                input_ids=best[:, None], attention_mask=mask, past_key_values=cache, use_cache=True
            )
        else:
            out = model(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=best[:, None],
                past_key_values=cache,
                use_cache=True,
            )
        found.append(out.logits[:, -1])
    return torch.stack(found, dim=1), torch.stack(taken, dim=1)


class ComparedRetriever:
    """A BLIP-2 that retrieves."""

    def __init__(self, card: ModelCard, folder: Path, views: Sequence[Image]) -> None:
        self._card, self._folder, self._views = card, folder, views
        seer = Seer(folder, PLAIN)
        towers: Any = seer.towers
        self._pretraining = towers.model
        self.model = self._pretraining.retrieval
        self._view = seer.view
        self._numbers = self._of(seer)

    def plan(self) -> list[Part]:
        """Return the graphs that it is cut into."""
        return of_retriever(self._pretraining, self._view.height, self._view.width)

    def measure(self, graphs: Graphs) -> Measured:
        """Return how far an export is from it."""
        numbers = self._of(Seer(self._folder, PLAIN, graphs))
        return Measured(parts=_differences(self._numbers, numbers))

    def _of(self, seer: Seer) -> dict[str, Any]:
        options = ImageText.Options(device="cpu", dtype="float32")
        model = ImageText(self._card, self._folder, options, "auto", seer)
        texts = [TEXTS[number % len(TEXTS)] for number in range(len(self._views))]
        with torch.inference_mode():
            features = seer.see(self._views).seen
        pairs = model.extract_features(self._views, texts, "multimodal", "hidden")
        return {
            "features": features,
            "queries": model.extract_features(self._views, level="hidden").values,
            "vectors": model.embed_images(self._views),
            "texts": model.embed_text(TEXTS),
            "pairs": pairs.values,
            "match": model.match(self._views, texts),
        }


def _writer(author: Author) -> Blip2Writer:
    assert isinstance(author.writer, Blip2Writer)
    return author.writer


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Difference]:
    """Return the differences by part; `ValueError` for other shapes or what is not finite."""
    pairs = {name: (np.asarray(one), np.asarray(found[name])) for name, one in wanted.items()}
    for name, (one, other) in pairs.items():
        if one.shape != other.shape:
            raise ValueError(f"{name} has the shape {other.shape}, expected {one.shape}")
        if not np.isfinite(other).all():
            raise ValueError(f"{name} has numbers that are not finite")
    return {name: difference(*pair) for name, pair in pairs.items()}
