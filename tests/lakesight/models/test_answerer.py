"""Answers, against transformers' own `generate` and whole passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import transformers
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.metrics.language.answers import vqa_answer
from lakesight.models.answerer import Answerer, AnswererOptions
from lakesight.models.base import Image
from lakesight.models.blip2 import language
from lakesight.models.blip2.language import CANDIDATES_A_PASS
from lakesight.models.guard import see
from lakesight.models.hub import card_for
from lakesight.schemas import ANSWERS

hf: Any = transformers
Checkpoint = Callable[[str], Path]
every = pytest.mark.parametrize("name", ["blip2-opt", "blip2-t5"])
QUESTIONS = [["is it red?", "how many are there?"], None, ["what is this, a red bus?"]]
CANDIDATES = ("a red bus", "a dog", "two")
TEMPLATE = "Question: {} Short answer:"


@pytest.fixture(scope="module")
def views(pictures: Callable[..., list[Image]]) -> list[Image]:
    return pictures(len(QUESTIONS))


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return pa.table({"questions": pa.array(QUESTIONS, pa.list_(pa.string()))})


def answerer(folder: Path, **options: Any) -> Answerer:
    card = card_for(str(folder))
    assert card is not None
    given = {"questions": ("a dog?",), "max_new_tokens": 5, "device": "cpu", **options}
    return Answerer(card, folder, AnswererOptions(**given), "auto")


class Own:
    """BLIP-2 by transformers alone: one picture, one question, one call."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = hf.AutoTokenizer.from_pretrained(folder)
        self.model = hf.Blip2ForConditionalGeneration.from_pretrained(folder).eval()
        images = hf.BlipImageProcessorPil.from_pretrained(folder)
        self.processor = hf.Blip2Processor(
            images, self.tokenizer, num_query_tokens=self.model.config.num_query_tokens
        )
        self.continues = self.model.config.use_decoder_only_language_model

    def inputs(self, view: Image, question: str) -> Any:
        return self.processor(images=view, text=TEMPLATE.format(question), return_tensors="pt")

    @torch.inference_mode()
    def write(self, view: Image, question: str, **settings: Any) -> str:
        inputs = self.inputs(view, question)
        out = self.model.generate(**inputs, **settings)
        new = out[:, inputs["input_ids"].shape[1] if self.continues else 0 :]
        text: str = self.tokenizer.batch_decode(new, skip_special_tokens=True)[0]
        return text.strip()

    @torch.inference_mode()
    def chances(self, view: Image, question: str) -> list[float]:
        """Return the probability of every candidate among them, each by a pass of its own."""
        inputs = self.inputs(view, question)
        sums = []
        for text in CANDIDATES:
            if self.continues:
                stop = self.model.language_model.generation_config.eos_token_id
                ids = self.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
                tokens = torch.tensor([[*ids, stop]])
                whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], tokens], dim=1)}
                whole["attention_mask"] = torch.ones_like(whole["input_ids"])
                logits = self.model(**whole).logits[:, -tokens.shape[1] - 1 : -1]
            else:
                tokens = torch.tensor([self.tokenizer(text)["input_ids"]])
                logits = self.model(**inputs, labels=tokens).logits
            each = logits.log_softmax(-1).gather(2, tokens.unsqueeze(2))
            sums.append(each.sum())
        chances: list[float] = torch.stack(sums).softmax(0).tolist()
        return chances


def pairs(views: list[Image]) -> list[tuple[Image, str]]:
    asked = [own or ["a dog?"] for own in QUESTIONS]
    return [(view, one) for view, own in zip(views, asked, strict=True) for one in own]


@every
@pytest.mark.parametrize("num_beams", [1, 3])
def test_written_answers_are_those_of_transformers(
    name: str, num_beams: int, checkpoint: Checkpoint, views: list[Image], rows: pa.Table
) -> None:
    found = answerer(checkpoint(name), num_beams=num_beams, length_penalty=-1).predict(views, rows)
    assert found.type == ANSWERS
    own = Own(checkpoint(name))
    settings: dict[str, Any] = {"max_new_tokens": 5, "num_beams": num_beams}
    settings["length_penalty"] = -1.0
    wanted = [own.write(*pair, **settings) for pair in pairs(views)]
    answers = [one for answers in found.to_pylist() for one in answers]
    assert [one["answer"] for one in answers] == wanted
    assert [one["question"] for one in answers] == [question for _, question in pairs(views)]
    assert all(0 < one["score"] <= 1 for one in answers)


def test_answers_are_normalised_where_one_asks_for_it(
    checkpoint: Checkpoint, views: list[Image], rows: pa.Table
) -> None:
    def answers(**options: Any) -> list[str]:
        model = answerer(checkpoint("blip2-opt"), max_new_tokens=8, **options)
        return [one["answer"] for row in model.predict(views, rows).to_pylist() for one in row]

    plain = answers()
    assert answers(normalise=True) == [vqa_answer(one) for one in plain] != plain
    candidates = ("The two.", "A dog")
    assert set(answers(normalise=True, candidates=candidates)) <= set(candidates)


@every
def test_chosen_answers_are_the_likeliest_candidates(
    name: str, checkpoint: Checkpoint, views: list[Image], rows: pa.Table
) -> None:
    found = answerer(checkpoint(name), candidates=CANDIDATES).predict(views, rows)
    own = Own(checkpoint(name))
    answers = [one for answers in found.to_pylist() for one in answers]
    for answer, pair in zip(answers, pairs(views), strict=True):
        chances = own.chances(*pair)
        assert answer["score"] == pytest.approx(max(chances), abs=1e-3)
        assert answer["answer"] == CANDIDATES[chances.index(max(chances))]


@every
def test_an_answer_does_not_depend_on_its_neighbours(
    name: str, checkpoint: Checkpoint, views: list[Image], rows: pa.Table
) -> None:
    for options in ({}, {"candidates": CANDIDATES}):
        model = answerer(checkpoint(name), **options)
        together = model.predict(views, rows).to_pylist()
        for number, view in enumerate(views):
            (alone,) = model.predict([view], rows.slice(number, 1)).to_pylist()
            assert [one["answer"] for one in alone] == [o["answer"] for o in together[number]]
            assert [one["score"] for one in alone] == pytest.approx(
                [one["score"] for one in together[number]], rel=1e-3
            )


def test_a_picture_is_seen_once_for_all_its_questions(
    checkpoint: Checkpoint, views: list[Image]
) -> None:
    model = answerer(checkpoint("blip2-opt"), questions=("a?", "b?", "c?"))
    passes = []
    tower = model._writer.language.model.vision_model
    tower.register_forward_hook(lambda *given: passes.append(len(given[2].last_hidden_state)))
    model.predict(views, pa.table({"width": [1] * len(views)}))
    assert passes == [len(views)]


def test_a_rows_own_candidates_go_before_the_options(
    checkpoint: Checkpoint, views: list[Image]
) -> None:
    model = answerer(checkpoint("blip2-opt"), candidates=CANDIDATES)
    own = pa.array([["yes", "no"], None, ["maybe"]], pa.list_(pa.string()))
    found = model.predict(views, pa.table({"candidates": own})).to_pylist()
    assert found[0][0]["answer"] in ("yes", "no")
    assert found[1][0]["answer"] in CANDIDATES
    assert found[2][0] == {"question": "a dog?", "answer": "maybe", "score": pytest.approx(1.0)}


def test_what_cannot_be_asked_costs_its_own_row_only(
    checkpoint: Checkpoint, views: list[Image]
) -> None:
    model = answerer(checkpoint("blip2-opt"), questions=())
    questions = [["a dog?"], ["  "], ["red bus " * 50]]
    seen = see(model, views, pa.table({"questions": questions}), max_batch=8)
    assert {row: str(error).split(":")[0] for row, error in seen.errors.items()} == {
        1: "the question is empty",
        2: str(seen.errors[2]).split(":")[0],
    }
    assert "expected at most" in str(seen.errors[2])
    assert len(seen.values[0].as_py()) == 1
    with pytest.raises(ValueError, match="there is no question"):
        model.predict(views[:1], pa.table({"width": [1]}))
    empty = pa.table({"questions": [["a?"]], "candidates": pa.array([[]], pa.list_(pa.string()))})
    with pytest.raises(ValueError, match="`candidates` are empty"):
        model.predict(views[:1], empty)


def test_mistakes_in_the_options_are_said_at_once(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValidationError, match="a question is empty"):
        AnswererOptions(questions=("",))
    with pytest.raises(ValidationError, match="a candidate is empty"):
        AnswererOptions(candidates=("yes", " "))
    with pytest.raises(UserError, match="expected at most"):
        answerer(checkpoint("blip2-opt"), questions=("red bus " * 50,))
    with pytest.raises(UserError, match=r"a candidate takes 401 tokens"):
        answerer(checkpoint("blip2-opt"), candidates=("yes", "red bus " * 50))
    with pytest.raises(UserError, match="no BLIP-2"):
        answerer(checkpoint("blip"))
    with pytest.raises(ValidationError, match=r"needs \{\} once"):
        AnswererOptions(template="Question:")


def test_no_pictures_keep_the_type(checkpoint: Checkpoint) -> None:
    assert answerer(checkpoint("blip2-opt")).predict([], pa.table({"width": []})).type == ANSWERS


def test_a_row_that_is_asked_nothing_has_no_answers(
    checkpoint: Checkpoint, views: list[Image]
) -> None:
    model = answerer(checkpoint("blip2-opt"))
    rows = pa.table({"questions": pa.array([[], None, ["a?", "b?"]], pa.list_(pa.string()))})
    found = model.predict(views, rows).to_pylist()
    assert [[one["question"] for one in answers] for answers in found] == [
        [],
        ["a dog?"],
        ["a?", "b?"],
    ]
    assert model.predict(views[:1], rows.slice(0, 1)).to_pylist() == [[]]


@every
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("questions", ["a?", None], "the question is empty"),
        ("candidates", ["yes", None], "a candidate is empty"),
        ("candidates", ["yes", "red bus " * 50], "a candidate takes"),
    ],
)
def test_words_that_cannot_be_used_cost_their_own_row_only(
    name: str,
    column: str,
    value: list[str | None],
    message: str,
    checkpoint: Checkpoint,
    views: list[Image],
) -> None:
    model = answerer(checkpoint(name))
    own = pa.array([["a b"], value, None], pa.list_(pa.string()))
    seen = see(model, views, pa.table({column: own}), max_batch=8)
    assert {row: message in str(error) for row, error in seen.errors.items()} == {1: True}
    assert [answers is None for answers in seen.values.to_pylist()] == [False, True, False]


@every
def test_many_candidates_are_weighed_in_several_passes(
    name: str, checkpoint: Checkpoint, views: list[Image]
) -> None:
    words = [
        f"{first}{second}" for first in "abcdefghijklmnop" for second in "qrstuvwxyz0123456789"
    ]
    assert len(words) > CANDIDATES_A_PASS

    def best(candidates: list[str]) -> list[str]:
        model = answerer(checkpoint(name), candidates=tuple(candidates), questions=("a?", "is it?"))
        (found,) = model.predict(views[:1], pa.table({"width": [32]})).to_pylist()
        return [one["answer"] for one in found]

    halves = zip(best(words[:160]), best(words[160:]), strict=True)
    finals = [best([*pair])[number] for number, pair in enumerate(halves)]
    assert best([*words, *words]) == finals


@every
def test_candidates_that_take_much_memory_are_weighed_few_at_once(
    name: str, checkpoint: Checkpoint, views: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tuple(f"{first}{second}" for first in "abcdef" for second in "qrstu")
    model = answerer(checkpoint(name), candidates=words, questions=("a?", "is it?"))
    sizes: list[int] = []
    head = model._writer.language.model.language_model.lm_head
    head.register_forward_hook(lambda *given: sizes.append(len(given[2])))

    def weighed() -> tuple[list[dict[str, Any]], int]:
        sizes.clear()
        found = model.predict(views[:2], pa.table({"width": [32, 32]})).to_pylist()
        return [one for row in found for one in row], max(sizes)

    together, most = weighed()
    assert most >= 2 * len(words)  # questions of one length are asked together
    monkeypatch.setattr(language, "CANDIDATE_BYTES", 100_000)
    apart, most = weighed()
    assert 1 < most < len(words)
    for one, other in zip(together, apart, strict=True):
        assert (one["question"], one["answer"]) == (other["question"], other["answer"])
        assert one["score"] == pytest.approx(other["score"], rel=1e-3)
