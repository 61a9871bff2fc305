"""Answers to questions about pictures: BLIP-2 with OPT or T5, by writing or by choosing."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from torch import Tensor

from lakesight import schemas
from lakesight.errors import UserError
from lakesight.metrics.language.answers import vqa_answer
from lakesight.models.author import Author, open_author
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.pretrained import WriterOptions
from lakesight.models.prompts import TEMPLATE, Template, question_prompt
from lakesight.models.writers import Blip2Writer, Prompt, searched

PAIRS_A_PASS = 32
"""Questions, each with its picture, that go through the language model together."""
KNOWN_CANDIDATES = 65_536
"""Candidates whose tokens are remembered."""


def _several(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""Texts; one alone needs no brackets."""


class AnswererOptions(WriterOptions):
    """What to ask, and how to answer: by writing, or among `candidates` by choosing."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    questions: Texts = ()
    """Asked of every picture, unless its row has `questions` of its own."""
    template: Template = TEMPLATE
    """The prompt; {} is the question."""
    candidates: Texts = ()
    """The answers to choose from, by likelihood, unless a row has `candidates` of its own; without
    any the answer is written."""
    max_new_tokens: int = Field(default=10, gt=0)
    """At most so many tokens are written."""
    num_beams: int = Field(default=5, gt=0)
    """Beams kept while writing; 1 is greedy."""
    length_penalty: float = 0.0
    """Written answers compete by the sum of their tokens' log-probabilities over their number to
    this power; below 0 favours short ones."""
    normalise: bool = False
    """Put written answers into the form in which VQA's evaluation compares them, so that equal ones
    group: small letters, numbers to ten as digits, no articles. Candidates stay as they are."""

    @model_validator(mode="after")
    def _words(self) -> Self:
        for name, texts in (("question", self.questions), ("candidate", self.candidates)):
            if not all(text.strip() for text in texts):
                raise ValueError(f"a {name} is empty: expected words")
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
        self,
        card: ModelCard,
        folder: Path,
        options: AnswererOptions,
        runtime: RuntimeName,
        author: Author | None = None,
    ) -> None:
        self.card, self.options = card, options
        self.author = author or open_author(card, folder, options, runtime)
        if not isinstance(self.author.writer, Blip2Writer):
            raise UserError(f"{card.name} is no BLIP-2: only that answers questions")
        self._writer = self.author.writer
        self.view, self.runs_on = self.author.view, self.author.runs_on
        self.output = pa.field("answers", schemas.ANSWERS)
        self._room = self._writer.room(options.max_new_tokens)
        self._tokens = lru_cache(KNOWN_CANDIDATES)(self._writer.answer)
        self._check_options()

    def _check_options(self) -> None:
        """Raise UserError for what no row could mend."""
        try:
            for question in self.options.questions:
                self._candidates(None, self._prompt(question))
        except ValueError as error:
            raise UserError(f"{self.card.name} cannot be asked that: {error}") from error

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `answers` of each view, in the order of its questions.

        A row's own `questions` and `candidates` go before the options; null takes the options', and
        a row whose questions are an empty list has no answers. Raises `ValueError` for a row
        without any question, with an empty one or one beyond the context, and for candidates that
        are an empty list, or among which one is empty or beyond the context.
        """
        if not views:
            return pa.array([], self.output.type)
        asked = list(self._asked(rows))
        values: list[list[dict[str, Any]]] = [[] for _ in views]
        for one, answer in zip(asked, self._answered(views, asked), strict=True):
            named = {"question": one.question, "answer": answer.text, "score": answer.score}
            values[one.row].append(named)
        return pa.array(values, self.output.type)

    def tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """See `lakesight.models.base.TextReader`: of questions, in their template."""
        return [np.array(self._prompt(text).tokens) for text in texts]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `lakesight.models.base.TextWriter`."""
        return [self._writer.length(text) for text in texts]

    def _asked(self, rows: pa.Table) -> Iterator[Asked]:
        """Yield the questions row by row: its own, else the option's."""
        questions = _column(rows, "questions")
        candidates = _column(rows, "candidates")
        for row, (asks, choice) in enumerate(zip(questions, candidates, strict=True)):
            if asks is None and not self.options.questions:
                raise ValueError(
                    "there is no question: set answer.questions, or give the rows a column "
                    "`questions`"
                )
            for question in self.options.questions if asks is None else asks:
                prompt = self._prompt(question)
                yield Asked(row, question, prompt, self._candidates(choice, prompt))

    def _prompt(self, question: str | None) -> Prompt:
        if not question or not question.strip():
            raise ValueError("the question is empty: expected words")
        prompt = question_prompt(self.options.template, question)
        return self._writer.prompt(prompt, self._room)

    def _candidates(self, own: list[str | None] | None, prompt: Prompt) -> tuple[str, ...]:
        """Return what to choose from, each once; nothing where the answer is to be written."""
        if own == []:
            raise ValueError("the row's `candidates` are empty: expected some, or null")
        given = self.options.candidates if own is None else own
        candidates = tuple(dict.fromkeys((text or "").strip() for text in given))
        for text in candidates:
            self._writer.check_fits(prompt, self._tokens(text))
        return candidates

    @torch.inference_mode()
    def _answered(self, views: Sequence[Image], asked: Sequence[Asked]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        with self.author.lock:
            seen = self.author.see(views)
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
            **searched(options.num_beams, options.length_penalty),
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self._writer.decode(out.sequences)
        if options.normalise:
            texts = [vqa_answer(text) for text in texts]
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
        answers = []
        for one, scores in zip(asked, self._weighed(seen, ids, mask, asked), strict=True):
            chances = scores.softmax(dim=0)
            best = int(chances.argmax())
            answers.append(Answer(one.candidates[best], float(chances[best])))
        return answers

    def _weighed(
        self, seen: Tensor, ids: Tensor, mask: Tensor, asked: Sequence[Asked]
    ) -> list[Tensor]:
        """Return the log-probability `(C,)` of each question's candidates, so many a pass."""
        pairs = [(row, text) for row, one in enumerate(asked) for text in one.candidates]
        scores: list[list[Tensor]] = [[] for _ in asked]
        longest = max(len(self._tokens(text)) for _, text in pairs)
        most = self._writer.language.candidates_a_pass(ids.shape[1], longest)
        for start in range(0, len(pairs), most):
            tokens: dict[int, list[Tensor]] = {}
            for row, text in pairs[start : start + most]:
                tokens.setdefault(row, []).append(torch.tensor(self._tokens(text)))
            rows = list(tokens)
            found = self._writer.language.likelihood(
                seen[rows], ids[rows], mask[rows], list(tokens.values())
            )
            for row, part in zip(rows, found, strict=True):
                scores[row].append(part)
        return [torch.cat(parts) for parts in scores]


def _column(rows: pa.Table, name: str) -> list[Any]:
    """Return a list of texts a row, or None where it says nothing."""
    return rows[name].to_pylist() if name in rows.column_names else [None] * rows.num_rows
