"""Answers to questions about pictures: BLIP-2 with OPT or T5, by writing or by choosing."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import torch
from pydantic import Field, model_validator
from torch import Tensor

from lakesight import schemas
from lakesight.errors import UserError
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import Pixels, TorchOptions, read_config, require_torch
from lakesight.models.writers import Blip2Writer, Prompt

PAIRS_A_PASS = 32
"""Questions, each with its picture, that go through the language model together."""


class AnswererOptions(TorchOptions):
    """What to ask, and how to answer: by writing, or among `candidates` by choosing."""

    questions: tuple[str, ...] = ()
    """Asked of every picture, unless its row has `questions` of its own."""
    template: str = "Question: {} Short answer:"
    """The prompt; {} is the question."""
    candidates: tuple[str, ...] = ()
    """The answers to choose from, by likelihood, unless a row has `candidates` of its own; without
    any the answer is written."""
    max_new_tokens: int = Field(default=10, gt=0)
    """At most so many tokens are written."""
    num_beams: int = Field(default=5, gt=0)
    """Beams kept while writing; 1 is greedy."""
    length_penalty: float = 0.0
    """Written answers compete by the sum of their tokens' log-probabilities over their number to
    this power; below 0 favours short ones."""

    @model_validator(mode="after")
    def _place_for_the_question(self) -> Self:
        if self.template.count("{}") != 1:
            raise ValueError(f"template needs {{}} once, for the question: got {self.template!r}")
        return self


class Asked(NamedTuple):
    """One question about one picture."""

    row: int
    question: str
    prompt: Prompt
    candidates: tuple[str, ...]


class Answer(NamedTuple):
    """An answer, and its probability: among all texts where written, else among the candidates."""

    text: str
    score: float


class Answerer:
    """Answers each question about each picture; a picture is seen once for all its questions."""

    Options = AnswererOptions
    concurrent = False

    def __init__(
        self, card: ModelCard, folder: Path, options: AnswererOptions, runtime: RuntimeName
    ) -> None:
        require_torch(card, runtime)
        if read_config(folder)["model_type"] != "blip-2":
            raise UserError(f"{card.name} is no BLIP-2: only that answers questions")
        self.card, self.options = card, options
        preprocessor = read_preprocessor(folder, card.family)
        self.view = preprocessor.view
        self.output = pa.field("answers", schemas.ANSWERS)
        self._writer = Blip2Writer(folder, options, options.max_new_tokens)
        self._pixels = Pixels(preprocessor, options.torch_device(), options.torch_dtype())
        self.runs_on = f"torch on {self._pixels.device.type}"
        self._check_options()

    def _check_options(self) -> None:
        """Raise UserError for what no row could mend."""
        try:
            for question in self.options.questions:
                self._prompt(question)
            for candidate in self.options.candidates:
                self._tokens(candidate)
        except ValueError as error:
            raise UserError(f"{self.card.name} cannot be asked that: {error}") from error

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `answers` of each view, in the order of its questions.

        Raises `ValueError` for a row with an empty question, one beyond the context, none at all,
        or an empty list of candidates.
        """
        if not views:
            return pa.array([], self.output.type)
        asked = list(self._asked(rows))
        values: list[list[dict[str, Any]]] = [[] for _ in views]
        for one, answer in zip(asked, self._answered(views, asked), strict=True):
            values[one.row].append({"question": one.question, **_named(answer)})
        return pa.array(values, self.output.type)

    def _asked(self, rows: pa.Table) -> Iterator[Asked]:
        """Yield the questions row by row: its own, else the option's."""
        questions = _column(rows, "questions", self.options.questions)
        candidates = _column(rows, "candidates", self.options.candidates)
        for row, (asks, choice) in enumerate(zip(questions, candidates, strict=True)):
            if not asks:
                raise ValueError(
                    "there is no question: set answer.questions, or give the rows a column "
                    "`questions`"
                )
            if choice == [] and "candidates" in rows.column_names:
                raise ValueError("the row's `candidates` are empty: expected some, or null")
            for question in asks:
                yield Asked(row, question, self._prompt(question), tuple(choice))

    def _prompt(self, question: str) -> Prompt:
        if not question.strip():
            raise ValueError("the question is empty: expected words")
        return self._writer.prompt(self.options.template.replace("{}", question.strip()))

    def _tokens(self, candidate: str) -> tuple[int, ...]:
        if not candidate.strip():
            raise ValueError("a candidate is empty: expected words")
        return self._writer.answer(candidate.strip())

    @torch.inference_mode()
    def _answered(self, views: Sequence[Image], asked: Sequence[Asked]) -> list[Answer]:
        seen = self._writer.see(self._pixels(views))
        answers: dict[int, Answer] = {}
        for chosen in (True, False):
            numbers = [n for n, one in enumerate(asked) if bool(one.candidates) == chosen]
            answer = self._choose if chosen else self._write
            prompts = [asked[number].prompt for number in numbers]
            for places, ids, mask in self._writer.batches(prompts, PAIRS_A_PASS):
                part = [asked[numbers[place]] for place in places]
                found = answer(seen[[one.row for one in part]], ids, mask, part)
                answers.update(zip((numbers[place] for place in places), found, strict=True))
        return [answers[number] for number in range(len(asked))]

    def _write(
        self, seen: Tensor, ids: Tensor, mask: Tensor, asked: Sequence[Asked]
    ) -> list[Answer]:
        options = self.options
        out = self._writer.generate(
            seen,
            ids,
            mask,
            max_new_tokens=options.max_new_tokens,
            num_beams=options.num_beams,
            length_penalty=options.length_penalty,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self._writer.decode(out.sequences)
        answers = [self._written(tokens) for tokens in out.sequences]
        scores = self._writer.language.likelihood(seen, ids, mask, [[one] for one in answers])
        return [
            Answer(text, float(score[0].exp())) for text, score in zip(texts, scores, strict=True)
        ]

    def _written(self, tokens: Tensor) -> Tensor:
        """Return what was written up to its stop token, that included."""
        stops = torch.isin(tokens, torch.tensor(self._writer.stop_ids, device=tokens.device))
        return tokens[: int(stops.int().argmax()) + 1] if stops.any() else tokens

    def _choose(
        self, seen: Tensor, ids: Tensor, mask: Tensor, asked: Sequence[Asked]
    ) -> list[Answer]:
        tokens = [
            [torch.tensor(self._tokens(candidate)) for candidate in one.candidates] for one in asked
        ]
        found = self._writer.language.likelihood(seen, ids, mask, tokens)
        answers = []
        for one, scores in zip(asked, found, strict=True):
            chances = scores.softmax(dim=0)
            best = int(chances.argmax())
            answers.append(Answer(one.candidates[best], float(chances[best])))
        return answers


def _named(answer: Answer) -> dict[str, Any]:
    return {"answer": answer.text, "score": answer.score}


def _column(rows: pa.Table, name: str, default: Sequence[str]) -> list[list[str]]:
    """Return a list of texts a row: its own, else the default."""
    if name not in rows.column_names:
        return [list(default)] * rows.num_rows
    return [list(default) if own is None else own for own in rows[name].to_pylist()]
