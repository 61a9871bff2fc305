"""How BLIP and BLIP-2 take a prompt and generate: token layout, padding, where the text starts.

Shapes: B pictures, S prompt tokens, N = B * captions a picture, L generated tokens; K vectors a
picture of D units: patches for BLIP, queries for BLIP-2.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from lakesight.models.blip2.language import Blip2Language
from lakesight.models.checkpoints import Graphs
from lakesight.models.packed import pack
from lakesight.models.pretrained import TorchOptions, load_tokenizer, load_weights
from lakesight.models.prompts import filled

MAX_PADDING = 0.2
"""Largest share of a batch's tokens that is padding."""


class Prompt(Frozen):
    """A prompt as the model takes it."""

    text: str | None
    tokens: tuple[int, ...]


class Writer(Protocol):
    """A model that writes text about pictures."""

    stop_ids: tuple[int, ...]
    """Tokens that end a text."""

    def room(self, max_new_tokens: int) -> int:
        """Return how many tokens may go in, so many being written behind them; else `UserError`."""
        ...

    def prompt(self, text: str | None, room: int) -> Prompt:
        """Tokenise. Raises `ValueError` for an empty prompt or one of more than `room` tokens."""
        ...

    def batches(
        self, prompts: Sequence[Prompt], most: int | None = None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield `(row numbers, ids (B, S), attention mask (B, S))`, together every row once.

        B is at most `most`.
        """
        ...

    def see(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to what texts are written from, `(B, K, D)`."""
        ...

    def generate(self, seen: Tensor, ids: Tensor, mask: Tensor, **settings: Any) -> Any:
        """Run `generate`; the result's `sequences` `(N, L)` hold no prompt."""
        ...

    def decode(self, tokens: Tensor) -> list[str]:
        """Turn `(N, L)` tokens into N texts."""
        ...

    def length(self, text: str) -> int:
        """Return how many tokens a text is where it is written, without the one that ends it."""
        ...


class BlipWriter:
    """BLIP: the prompt starts the text. Positions count from the first token, padding included.

    So prompts are batched by length: padding would move the words (and cost what it saves).
    """

    def __init__(self, folder: Path, options: TorchOptions) -> None:
        from transformers import BlipForConditionalGeneration

        self._model = pack(load_weights(BlipForConditionalGeneration, folder, options))
        self._tokenizer = load_tokenizer(folder)
        config = self._model.config.text_config
        self._start_id: int = config.bos_token_id
        self.stop_ids: tuple[int, ...] = (config.sep_token_id,)
        self._name = folder.name

    def room(self, max_new_tokens: int) -> int:
        """Return what the context leaves."""
        context = self._model.config.text_config.max_position_embeddings
        return _room(self._name, context, max_new_tokens)

    def prompt(self, text: str | None, room: int) -> Prompt:
        """Tokenise as `[DEC] words`."""
        words = [] if text is None else self._tokenizer(filled(text))["input_ids"][1:-1]
        return _within(room, Prompt(text=text, tokens=(self._start_id, *words)))

    def batches(
        self, prompts: Sequence[Prompt], most: int | None = None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield the rows of each prompt length, at most so many."""
        lengths = [len(prompt.tokens) for prompt in prompts]
        for rows in similar(lengths, most or len(prompts), max_padding=0):
            ids = torch.tensor([prompts[row].tokens for row in rows], device=self._model.device)
            yield rows, ids, torch.ones_like(ids)

    def see(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to the patches' states."""
        seen: Tensor = self._model.vision_model(pixel_values=pixels).last_hidden_state
        return seen

    def generate(self, seen: Tensor, ids: Tensor, mask: Tensor, **settings: Any) -> Any:
        """Run the text decoder's `generate` on what was seen."""
        out = self._model.text_decoder.generate(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=seen.new_ones(seen.shape[:2], dtype=torch.long),
            eos_token_id=self.stop_ids[0],
            pad_token_id=self._model.config.text_config.pad_token_id,
            **settings,
        )
        out.sequences = out.sequences[:, ids.shape[1] :]
        return out

    def decode(self, tokens: Tensor) -> list[str]:
        """Turn `(N, L)` tokens into N texts."""
        return _decode(self._tokenizer, tokens)

    def length(self, text: str) -> int:
        """Return how many tokens a text that was written is."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])


class Blip2Writer:
    """BLIP-2: query vectors, then the prompt, into OPT (which continues it) or T5 (which answers).

    Rows are padded on the left and masked: OPT counts positions by the mask, and T5's are relative,
    so padding moves nothing.
    """

    def __init__(
        self, model: Any, tokenizer: Any, name: str, language: Blip2Language | None = None
    ) -> None:
        """Take a `Blip2ForConditionalGeneration`; `name` is what errors call it.

        `language` runs it in another way than torch does.
        """
        self._model, self._tokenizer, self._name = model, tokenizer, name
        self.language = language or Blip2Language(model)
        self._images = _image_tokens(name, model.config)
        self.stop_ids = _as_tuple(model.language_model.generation_config.eos_token_id)

    @classmethod
    def load(cls, folder: Path, options: TorchOptions) -> Self:
        """Load a checkpoint to infer with; UserError where it is not whole."""
        from transformers import Blip2ForConditionalGeneration

        model = pack(load_weights(Blip2ForConditionalGeneration, folder, options))
        return cls(model, load_tokenizer(folder), folder.name)

    def room(self, max_new_tokens: int) -> int:
        """Return what the context leaves, queries included; T5 writes into a context of its own."""
        config = self._model.config.text_config
        if self.language.continues:
            return _room(self._name, config.max_position_embeddings, max_new_tokens)
        return int(config.n_positions)

    def prompt(self, text: str | None, room: int) -> Prompt:
        """Tokenise as `<image> * queries, words`; without words as transformers does, one start."""
        if text is None:
            words = _as_tuple(self._model.config.text_config.bos_token_id)
        else:
            words = tuple(self._tokenizer(filled(text))["input_ids"])
        if self._images[0] in words:
            raise ValueError(f"the prompt {text!r} names the token that stands for the picture")
        return _within(room, Prompt(text=text, tokens=(*self._images, *words)))

    def answer(self, text: str) -> tuple[int, ...]:
        """Tokenise what may come after a prompt, its stop token last; `ValueError` if empty."""
        if not text.strip():
            raise ValueError("a candidate is empty: expected words")
        if not self.language.continues:
            return tuple(self._tokenizer(text)["input_ids"])
        return (*self._words(text), self.stop_ids[0])

    def length(self, text: str) -> int:
        """Return how many tokens a text that was written is."""
        return len(self._words(text)) if text.strip() else 0

    def _words(self, text: str) -> list[int]:
        behind = f" {text}" if self.language.continues else text
        words: list[int] = self._tokenizer(behind, add_special_tokens=False)["input_ids"]
        return words

    def check_fits(self, prompt: Prompt, answer: Sequence[int]) -> None:
        """Raise `ValueError` for an answer for which the prompt leaves no room in the context."""
        room = self.room(0) - (len(prompt.tokens) if self.language.continues else 0)
        if len(answer) > room:
            raise ValueError(
                f"a candidate takes {len(answer)} tokens, and its question leaves {room}: shorten "
                "either"
            )

    def batches(
        self, prompts: Sequence[Prompt], most: int | None = None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield rows of similar lengths, at most so many, padded on the left."""
        for rows in similar([len(prompt.tokens) for prompt in prompts], most or len(prompts)):
            yield rows, *self.padded([prompts[row] for row in rows])

    def padded(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Return `(ids, mask)`, both `(B, S)`, padded on the left."""
        pad, device = self._model.config.text_config.pad_token_id, self._model.device
        longest = max(len(prompt.tokens) for prompt in prompts)
        gaps = [longest - len(prompt.tokens) for prompt in prompts]
        both = list(zip(gaps, (prompt.tokens for prompt in prompts), strict=True))
        ids = [[pad] * gap + [*tokens] for gap, tokens in both]
        mask = [[0] * gap + [1] * len(tokens) for gap, tokens in both]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def see(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` to the queries as the language model takes them."""
        return self.language.prefix(self.language.see(pixels))

    def generate(self, seen: Tensor, ids: Tensor, mask: Tensor, **settings: Any) -> Any:
        """Run the language model's `generate`."""
        return self.language.generate(seen, ids, mask, **settings)

    def decode(self, tokens: Tensor) -> list[str]:
        """Turn `(N, L)` tokens into N texts."""
        return _decode(self._tokenizer, tokens)


def searched(num_beams: int, length_penalty: float) -> dict[str, Any]:
    """Return what `generate` is told of a search; of a greedy one it warns of a length penalty."""
    beams = {} if num_beams == 1 else {"length_penalty": length_penalty}
    return {"num_beams": num_beams, "do_sample": False, **beams}


def similar(lengths: Sequence[int], most: int, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """Return the rows in groups of at most `most`, at most that share of each padding.

    A batch as long as its longest row wastes the rest; a batch of its own wastes a pass.
    """
    groups: list[list[int]] = []
    real = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = lengths[row] * (len(groups[-1]) + 1) if groups else 0
        full = not groups or len(groups[-1]) == most
        if full or real + lengths[row] < (1 - max_padding) * padded:
            groups.append([])
            real = 0
        groups[-1].append(row)
        real += lengths[row]
    return groups


WRITERS: dict[str, Callable[[Path, TorchOptions], Writer]] = {
    "blip": BlipWriter,
    "blip-2": Blip2Writer.load,
}
"""By `model_type` of config.json."""


def load_writer(model_type: str, folder: Path, options: TorchOptions) -> Writer:
    """Return the writer of a checkpoint. Raises `UserError` for a type that is none of these."""
    if model_type not in WRITERS:
        raise UserError(
            f"{folder.name} is of type {model_type!r}: a captioning model is one of "
            f"{', '.join(WRITERS)}"
        )
    return WRITERS[model_type](folder, options)


def open_writer(folder: Path, graphs: Graphs) -> Writer:
    """Return the writer of an exported BLIP-2; `folder` holds its configuration and tokenizer."""
    from lakesight.models.blip2.exported import ExportedLanguage

    language = ExportedLanguage(folder, graphs)
    return Blip2Writer(language.model, load_tokenizer(folder), folder.name, language)


def _image_tokens(name: str, config: Any) -> tuple[int, ...]:
    """Return the placeholders that the query vectors replace."""
    if config.image_token_index is None:
        raise UserError(
            f"{name} has no image_token_index in its config.json: expected a BLIP-2 "
            "checkpoint of transformers 4.46 or newer; take a newer revision"
        )
    return (int(config.image_token_index),) * int(config.num_query_tokens)


def _room(name: str, context: int, max_new_tokens: int) -> int:
    if max_new_tokens >= context:
        raise UserError(
            f"max_new_tokens={max_new_tokens} does not fit {name}, whose context is "
            f"{context} tokens: ask for fewer"
        )
    return context - max_new_tokens


def _within(room: int, prompt: Prompt) -> Prompt:
    if len(prompt.tokens) > room:
        raise ValueError(
            f"the prompt {(prompt.text or '')[:40]!r} takes {len(prompt.tokens)} tokens, the "
            f"picture's included: expected at most {room}; shorten it or lower max_new_tokens"
        )
    return prompt


def _as_tuple(ids: int | list[int] | None) -> tuple[int, ...]:
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list) else (ids,)


def _decode(tokenizer: Any, tokens: Tensor) -> list[str]:
    texts: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [text.strip() for text in texts]
