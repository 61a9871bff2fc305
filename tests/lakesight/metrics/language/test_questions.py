"""VQA accuracy, exact match and F1."""

import json
import pickle
from itertools import combinations

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.metrics import AnswerEvaluator, Bootstrap
from lakesight.metrics.language.answers import token_f1, vqa_accuracy, vqa_answer
from lakesight.scenes import generate


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("Yes", "yes"),
        ("  two\tdogs\n", "2 dogs"),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("The cat on a mat", "cat on mat"),
        ("dont", "don't"),
        ("i couldnt've", "i couldn't've"),
        ("oclock", "o'clock"),
        ("girl's", "girl's"),
        ("it\u2019s", "it's"),
        ("2:50 pm.", "2:50 pm"),
        ("100,978", "100978"),
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("red/blue", "red blue"),
        ("red, blue", "red blue"),
        ("(red)", "red"),
        ("t-shirt", "t shirt"),
        ("t -shirt", "t shirt"),
        ("what?!", "what"),
        ("ill", "ill"),
        ("", ""),
        ("a", ""),
    ],
)
def test_answers_are_made_comparable(answer: str, same: str) -> None:
    assert vqa_answer(answer) == same


@pytest.mark.parametrize("agreed", range(11))
def test_accuracy_is_the_mean_over_all_sets_of_nine(agreed: int) -> None:
    references = ["x"] * agreed + ["y"] * (10 - agreed)
    subsets = combinations(references, 9)
    expected = np.mean([min(subset.count("x") / 3, 1) for subset in subsets])
    assert vqa_accuracy("x", references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("references", "accuracy"),
    [(["x"], 1), (["y"], 0), (["x", "x"], 1), (["x", "y"], 0.5), (["x", "x", "x"], 1),
     (["x", "y", "z"], 1 / 3), (["x", "x", "y", "y"], (2 * 1 + 2 * 2) / 3 / 4)],
)  # fmt: skip
def test_fewer_answers_ask_for_all_but_one(references: list[str], accuracy: float) -> None:
    assert vqa_accuracy("x", references) == pytest.approx(accuracy)


def test_f1_is_that_of_common_words() -> None:
    assert token_f1(["red", "big", "dog"], ["big", "red", "dog", "dog"]) == pytest.approx(6 / 7)
    assert token_f1([], []) == 1
    assert token_f1([], ["dog"]) == token_f1(["cat"], ["dog"]) == 0


def test_figures_of_a_few_answers() -> None:
    evaluator = AnswerEvaluator()
    evaluator.update(
        [1, 2, 3],
        ["two", "The big dog!", "blue"],
        [["2"] * 8 + ["3"] * 2, ["a dog", "big cat", "cow"], ["red"]],
    )
    accuracy, f1 = (1 + 0 + 0) / 3, (0 + 2 / 3 + 0) / 3
    assert evaluator.result().figures() == pytest.approx(
        {"accuracy": accuracy, "exact_match": 0, "f1": f1}
    )


def test_no_answer_is_wrong_even_where_nothing_is_right() -> None:
    evaluator = AnswerEvaluator()
    evaluator.update([1, 2], [None, ""], [["the"], ["the"]])
    assert evaluator.result().figures() == {"accuracy": 0.5, "exact_match": 0.5, "f1": 0.5}


def scenes() -> AnswerEvaluator:
    """Return a judge of a model that always says "yes", or "2" to a number."""
    evaluator = AnswerEvaluator()
    for index in range(12):
        asked = generate(5, index, 64).questions
        evaluator.update(
            [f"{index}-{number}" for number in range(len(asked))],
            ["2" if one.kind == "count" else "Yes." for one in asked],
            [[one.answer] for one in asked],
            [{"kind": one.kind} for one in asked],
            pictures=[index] * len(asked),
        )
    return evaluator


def test_kinds_of_questions_are_slices() -> None:
    slices = scenes().slices("kind", Bootstrap(resamples=50))
    assert set(slices) == {"existence", "count", "colour", "relation"}
    assert slices["existence"].values["accuracy"] == 0.5  # as many yes as no
    assert slices["existence"].values["exact_match"] == 0.5
    assert slices["colour"].values["accuracy"] == 0
    interval = slices["count"].intervals["accuracy"]
    assert interval.low < slices["count"].values["accuracy"] < interval.high


def test_draws_are_of_pictures() -> None:
    evaluator = AnswerEvaluator()
    questions = list(range(40))
    answers = ["yes" if one % 2 else "no" for one in questions]
    evaluator.update(questions, answers, [["yes"]] * 40, pictures=[one // 20 for one in questions])
    result = evaluator.result(Bootstrap(resamples=100))
    assert result.counts == {"questions": 40, "pictures": 2}
    assert result.intervals["accuracy"].to_list() == [0.5, 0.5]  # both pictures are alike


def test_shares_add_up() -> None:
    whole = scenes()
    parts = [AnswerEvaluator(), AnswerEvaluator()]
    for index in range(12):
        asked = generate(5, index, 64).questions
        parts[index % 2].update(
            [f"{index}-{number}" for number in range(len(asked))],
            ["2" if one.kind == "count" else "Yes." for one in asked],
            [[one.answer] for one in asked],
            pictures=[index] * len(asked),
        )
    parts[1].merge(pickle.loads(pickle.dumps(parts[0])))
    bootstrap = Bootstrap(resamples=50)
    plain = parts[1].result(bootstrap).to_dict()
    assert plain == whole.result(bootstrap).to_dict()
    assert json.loads(json.dumps(plain))["num_questions"] == len(whole)
    assert whole.result().table().startswith(f"{len(whole)} questions, 12 pictures\n")
    with pytest.raises(UserError, match="came again"):
        parts[1].merge(parts[0])


def test_mistakes_are_refused() -> None:
    evaluator = AnswerEvaluator()
    with pytest.raises(UserError, match="1 keys need as many pictures, but got 2"):
        evaluator.update([1], ["x"], [["x"]], pictures=[1, 2])
    with pytest.raises(UserError, match="list of one or more references, but has 'yes'"):
        evaluator.update([1], ["x"], ["yes"])
    assert len(evaluator) == 0
    assert np.isnan(evaluator.result().values["accuracy"])
