"""BLEU, ROUGE-L and CIDEr-D against pycocoevalcap 1.2 (goldens.json), CIDEr against its paper."""

import json
import math
import pickle
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.metrics import Bootstrap, CaptionEvaluator, document_frequency
from lakesight.metrics.language.tokens import tokenize

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())
PICTURES = GOLDENS["pictures"]
SCORES = GOLDENS["scores"]
KEYS = list(range(len(PICTURES)))
CAPTIONS = [one["caption"] for one in PICTURES]
REFERENCES = [one["references"] for one in PICTURES]
KINDS = [{"kind": "photo" if number < 26 else "scene"} for number in KEYS]


def evaluate(**options: Any) -> CaptionEvaluator:
    evaluator = CaptionEvaluator(**options)
    evaluator.update(KEYS, CAPTIONS, REFERENCES, KINDS)
    return evaluator


@pytest.fixture(scope="module")
def evaluator() -> CaptionEvaluator:
    return evaluate()


def test_figures_are_those_of_the_reference(evaluator: CaptionEvaluator) -> None:
    figures = evaluator.result().figures()
    bleu = [figures[f"bleu{size}"] for size in (1, 2, 3, 4)]
    np.testing.assert_allclose(bleu, SCORES["bleu"], rtol=1e-9)
    assert figures["rouge_l"] == pytest.approx(SCORES["rouge_l"][0], rel=1e-12)
    assert figures["cider_d"] == pytest.approx(SCORES["cider_d"][0], rel=1e-12)


@pytest.mark.parametrize("number", KEYS)
def test_each_picture_is_that_of_the_reference(evaluator: CaptionEvaluator, number: int) -> None:
    corpus = document_frequency(REFERENCES)
    alone = CaptionEvaluator(frequency=corpus)
    alone.update([number], [CAPTIONS[number]], [REFERENCES[number]])
    figures = alone.result().figures()
    assert figures["rouge_l"] == pytest.approx(SCORES["rouge_l"][number + 1], rel=1e-12)
    assert figures["cider_d"] == pytest.approx(SCORES["cider_d"][number + 1], abs=1e-12)


def literal_cider(captions: list[str], references: list[list[str]]) -> float:
    """Equations 1 to 3 of arXiv:1411.5726, word for word."""
    vocabulary = {
        run
        for texts in [captions, *references]
        for text in texts
        for size in (1, 2, 3, 4)
        for run in runs(text, size)
    }
    documents = {
        run: sum(
            min(1, sum(runs(text, len(run)).count(run) for text in texts)) for texts in references
        )
        for run in vocabulary
    }

    def vector(text: str, size: int) -> dict[tuple[str, ...], float]:
        own = runs(text, size)
        return {
            run: own.count(run) / len(own) * math.log(len(references) / max(1, documents[run]))
            for run in set(own)
        }

    def cosine(first: dict[Any, float], second: dict[Any, float]) -> float:
        norms = [math.sqrt(sum(x * x for x in one.values())) for one in (first, second)]
        dot = sum(value * second.get(run, 0) for run, value in first.items())
        return dot / (norms[0] * norms[1]) if norms[0] * norms[1] else 0.0

    total = 0.0
    for caption, texts in zip(captions, references, strict=True):
        for size in (1, 2, 3, 4):
            own = vector(caption, size)
            mean = sum(cosine(own, vector(text, size)) for text in texts) / len(texts)
            total += mean / 4
    return total / len(captions)


@cache
def runs(text: str, size: int) -> list[tuple[str, ...]]:
    words = tokenize(text)
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def test_plain_cider_is_the_papers() -> None:
    rows = slice(20, 32)
    expected = literal_cider(CAPTIONS[rows], REFERENCES[rows])
    assert 0.05 < expected < 1
    evaluator = CaptionEvaluator()
    evaluator.update(KEYS[rows], CAPTIONS[rows], REFERENCES[rows])
    assert evaluator.result().figures()["cider"] == pytest.approx(expected, rel=1e-12)


def test_a_caption_that_is_its_reference_has_all() -> None:
    evaluator = CaptionEvaluator()
    texts = ["A cat sits on a red mat.", "Two dogs run in the snow."]
    evaluator.update(["a", "b"], texts, [[text] for text in texts])
    assert evaluator.result().figures() == pytest.approx(
        dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"), 1.0)
        | {"cider_d": 10.0}
    )


def test_shares_add_up_and_order_does_not_matter(evaluator: CaptionEvaluator) -> None:
    parts = [CaptionEvaluator(), CaptionEvaluator()]
    for part, rows in zip(parts, (slice(20, None), slice(0, 20)), strict=True):
        part.update(KEYS[rows], CAPTIONS[rows], REFERENCES[rows], KINDS[rows])
    parts[0].result()  # what was measured before must not stay
    parts[0].merge(pickle.loads(pickle.dumps(parts[1])))
    bootstrap = Bootstrap(resamples=70)
    assert parts[0].result(bootstrap).to_dict() == evaluator.result(bootstrap).to_dict()
    assert len(parts[0]) == len(KEYS)


def test_a_draw_is_an_evaluation_of_the_drawn(evaluator: CaptionEvaluator) -> None:
    bootstrap = Bootstrap(resamples=1, seed=3)
    (weights,) = bootstrap.weights(len(KEYS))
    drawn = np.repeat(KEYS, weights[0].astype(int))
    again = CaptionEvaluator(frequency=document_frequency(REFERENCES))
    again.update(
        list(range(len(drawn))),
        [CAPTIONS[one] for one in drawn],
        [REFERENCES[one] for one in drawn],
    )
    result = evaluator.result(bootstrap)
    assert {name: one.low for name, one in result.intervals.items()} == pytest.approx(
        again.result().figures()
    )


def test_intervals_hold_their_figures(evaluator: CaptionEvaluator) -> None:
    result = evaluator.result(Bootstrap(resamples=200))
    assert set(result.intervals) == set(result.figures())
    for name, value in result.figures().items():
        assert result.intervals[name].low < value < result.intervals[name].high


def test_slices_share_the_frequencies_of_all(evaluator: CaptionEvaluator) -> None:
    slices = evaluator.slices("kind")
    whole = evaluator.result().figures()
    sizes = {kind: one.counts["pictures"] for kind, one in slices.items()}
    assert sizes == {"photo": 26, "scene": 14}
    for name in ("rouge_l", "cider_d", "cider"):
        mean = sum(one.values[name] * sizes[kind] for kind, one in slices.items()) / 40
        assert mean == pytest.approx(whole[name])
    with pytest.raises(UserError, match="known slices: \\['kind'\\]"):
        evaluator.slices("camera")


def test_figures_are_json_and_text(evaluator: CaptionEvaluator) -> None:
    result = evaluator.result(Bootstrap(resamples=20))
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["num_pictures"] == 40
    assert plain["bleu4"] == result.values["bleu4"]
    assert plain["intervals"]["cider"] == result.intervals["cider"].to_list()
    lines = result.table().splitlines()
    assert lines[0] == "40 pictures"
    assert lines[5].split()[:2] == ["bleu4", f"{result.values['bleu4']:.3f}"]


def test_of_nothing_nothing_is_known() -> None:
    result = CaptionEvaluator().result(Bootstrap(resamples=5))
    assert result.intervals == {}
    assert set(result.to_dict().values()) == {0, None}
    assert result.table().splitlines()[2].split() == ["bleu1", "-"]


def test_a_caption_or_reference_without_words_is_no_error() -> None:
    evaluator = CaptionEvaluator()
    evaluator.update(["a", "b"], ["", "a cat"], [["a cat", "."], ["..."]])
    figures = evaluator.result().figures()
    assert {figures["rouge_l"], figures["cider"], figures["cider_d"]} == {0.0}


@pytest.mark.parametrize(
    ("pictures", "captions", "references", "message"),
    [
        (["a", "b"], ["x"], [["y"], ["z"]], "2 keys need as many captions, but got 1"),
        (["a"], "x", [["y"]], "but got one string: 'x'"),
        (["a"], ["x"], [[]], "'a' must have a list of one or more references"),
        (["a"], ["x"], ["y"], "'a' must have a list of one or more references, but has 'y'"),
        (["a", "a"], ["x", "y"], [["x"], ["y"]], "each picture counts once"),
    ],
)
def test_mistakes_are_refused(
    pictures: Sequence[str], captions: Any, references: Any, message: str
) -> None:
    evaluator = CaptionEvaluator()
    with pytest.raises(UserError, match=message):
        evaluator.update(pictures, captions, references)
    assert len(evaluator) == 0


def test_merging_refuses_other_options_and_the_same_picture(evaluator: CaptionEvaluator) -> None:
    with pytest.raises(UserError, match="same extra and frequency"):
        evaluator.merge(CaptionEvaluator(frequency=document_frequency([["a cat"]])))
    with pytest.raises(UserError, match="came again"):
        evaluator.merge(evaluate())
