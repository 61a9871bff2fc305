"""Captions through transformers: BLIP, and BLIP-2 with OPT or FLAN-T5."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import Field, model_validator
from torch import Tensor

from lakesight import schemas
from lakesight.errors import UserError
from lakesight.models.author import Author, open_author
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.columns import own_column
from lakesight.models.pretrained import WriterOptions
from lakesight.models.prompts import Words
from lakesight.models.sampling import RowSampler
from lakesight.models.writers import Prompt, searched


class CaptionerOptions(WriterOptions):
    """How to write captions: beam search unless `do_sample`."""

    prompt: Words | None = None
    """Words to start from (or, for FLAN-T5, to answer), where a row's own column `prompt` is absent
    or null. The caption does not repeat them."""
    max_new_tokens: int = Field(default=30, gt=0)
    """At most so many tokens are written."""
    num_beams: int = Field(default=5, gt=0)
    """Beams kept by beam search; 1 is greedy. Not used with do_sample."""
    length_penalty: float = 1.0
    """A caption's score is the sum of its tokens' log-probabilities (the stop token included) over
    their number to this power: 1 is the mean; more favours long captions, less short ones."""
    num_captions: int = Field(default=1, gt=0)
    """More than 1 writes `captions`, best first, each with its score."""
    do_sample: bool = False
    """Draw tokens (nucleus sampling) in place of searching for the likeliest."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """The nucleus: the likeliest tokens that together have this probability."""
    temperature: float = Field(default=1.0, gt=0)
    """Below 1 sharpens the draw, above 1 flattens it."""
    seed: int = 0
    """The draw depends on this, the picture's pixels and the prompt, not on the batch."""

    @model_validator(mode="after")
    def _enough_beams(self) -> Self:
        if not self.do_sample and self.num_captions > self.num_beams:
            raise ValueError(
                f"num_captions={self.num_captions} needs as many beams, but num_beams is "
                f"{self.num_beams}: raise num_beams, or set do_sample"
            )
        return self


class Written(NamedTuple):
    """One caption; the score is None where it was not asked for."""

    text: str
    score: float | None


class Captioner:
    """Writes a caption, or the n best, about each picture."""

    Options = CaptionerOptions
    concurrent = False

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        options: CaptionerOptions,
        runtime: RuntimeName,
        author: Author | None = None,
    ) -> None:
        self.card, self.options = card, options
        self.author = author or open_author(card, folder, options, runtime)
        self.view, self.runs_on = self.author.view, self.author.runs_on
        kind = schemas.CAPTIONS if options.num_captions > 1 else pa.string()
        self.output = pa.field(own_column("caption", dict(options)), kind)
        self._writer = self.author.writer
        self._room = self._writer.room(options.max_new_tokens)
        self.prompt = self._default_prompt()
        """What a caption starts from where a row says nothing."""

    def _default_prompt(self) -> Prompt:
        try:
            return self._writer.prompt(self.options.prompt, self._room)
        except ValueError as error:
            raise UserError(f"{self.card.name} cannot use its prompt: {error}") from error

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `caption` of each view, or its `captions`.

        Raises `ValueError` for a row whose own prompt is empty or too long.
        """
        if not views:
            return pa.array([], self.output.type)
        prompts = self._prompts(rows)
        written = self.write(views, prompts)
        if self.options.num_captions == 1:
            return pa.array([best.text for best, *_ in written], self.output.type)
        values = [
            [{**caption._asdict(), "prompt": prompt.text} for caption in captions]
            for captions, prompt in zip(written, prompts, strict=True)
        ]
        return pa.array(values, self.output.type)

    def tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """See `lakesight.models.base.TextReader`: of prompts, behind the picture's own tokens."""
        return [np.array(self._writer.prompt(text, self._room).tokens) for text in texts]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `lakesight.models.base.TextWriter`."""
        return [self._writer.length(text) for text in texts]

    def _prompts(self, rows: pa.Table) -> list[Prompt]:
        """Return each row's prompt: its own, else the option's."""
        if "prompt" not in rows.column_names:
            return [self.prompt] * rows.num_rows
        return [
            self.prompt if text is None else self._writer.prompt(text, self._room)
            for text in rows["prompt"].to_pylist()
        ]

    @torch.inference_mode()
    def write(self, views: Sequence[Image], prompts: Sequence[Prompt]) -> list[list[Written]]:
        """Return the captions of each view, best first, from its prompt."""
        seeds = [self._seed(*pair) for pair in zip(views, prompts, strict=True)]
        written: dict[int, list[Written]] = {}
        with self.author.lock:
            seen = self.author.see(views)
            for numbers, ids, mask in self._writer.batches(prompts):
                batch_seeds = [seeds[number] for number in numbers]
                captions = self._generate(seen[numbers], ids, mask, batch_seeds)
                written.update(zip(numbers, captions, strict=True))
        return [written[number] for number in range(len(views))]

    def _generate(
        self, seen: Tensor, ids: Tensor, mask: Tensor, seeds: Sequence[int]
    ) -> list[list[Written]]:
        """Return each picture's captions, best first."""
        sampler = self._sampler(seeds) if self.options.do_sample else None
        out = self._writer.generate(seen, ids, mask, **self._settings(sampler))
        texts = self._writer.decode(out.sequences)
        scores = self._scores(out, sampler)
        all_written = [Written(*pair) for pair in zip(texts, scores, strict=True)]
        count = self.options.num_captions
        groups = (all_written[start : start + count] for start in range(0, len(texts), count))
        return [sorted(group, key=lambda one: -(one.score or 0.0)) for group in groups]

    def _settings(self, sampler: RowSampler | None) -> dict[str, Any]:
        """Return what `generate` is told; nothing is left to the checkpoint's own defaults."""
        options = self.options
        settings = {
            "max_new_tokens": options.max_new_tokens,
            "num_return_sequences": options.num_captions,
            "return_dict_in_generate": True,
            "output_scores": True,
        }
        if sampler is None:
            return {**settings, **searched(options.num_beams, options.length_penalty)}
        draw = {"do_sample": True, "num_beams": 1, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
        return {**settings, **draw, "logits_processor": [sampler]}

    def _scores(self, out: Any, sampler: RowSampler | None) -> list[float | None]:
        if sampler is not None:
            lengths = sampler.lengths**self.options.length_penalty
            return [*(sampler.log_probability / lengths).tolist()]
        if self.options.num_beams > 1:
            return [*out.sequences_scores.tolist()]
        return [None] * len(out.sequences)

    def _sampler(self, seeds: Sequence[int]) -> RowSampler:
        count = self.options.num_captions
        return RowSampler(
            [(seed + number) % 2**63 for seed in seeds for number in range(count)],
            top_p=self.options.top_p,
            temperature=self.options.temperature,
            stop_ids=self._writer.stop_ids,
        )

    def _seed(self, view: Image, prompt: Prompt) -> int:
        """Return a 63-bit number from the option's seed, the picture and the prompt."""
        digest = hashlib.blake2b(view.tobytes(), digest_size=8)
        digest.update(f"\0{self.options.seed}\0{prompt.text}".encode())
        return int.from_bytes(digest.digest(), "big") >> 1
