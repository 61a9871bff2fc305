"""Captions, answers and search by what an output holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import (
    Texts,
    evaluate_output,
    judge_of,
    open_labels,
)
from lakesight.evaluation.retrieval import similarities, unpacked
from lakesight.lake.reader import Lake
from lakesight.metrics import (
    Bootstrap,
    CaptionEvaluator,
)
from lakesight.schemas import ANSWERS, CAPTIONS, embedding_type
from lakesight.training.blip2.texts import Told
from tests.worded import data, only, write_rows

CAPTION = pa.field("caption", pa.string())
ANSWER = pa.field("answers", ANSWERS)
BOOTSTRAP = Bootstrap(resamples=20)


def seen(
    scenes: Path,
    output: Path,
    field: pa.Field,
    values: Mapping[str, Any],
    broken: Sequence[str] = (),
) -> Lake:
    """Return an output that holds a value of each picture, by its name."""
    rows = {name: {field.name: value} for name, value in values.items()}
    pictures = scenes / "images" / "val"
    return lakesight.open(
        write_rows(pictures, output, [field], rows | dict.fromkeys(broken)),
    )


def names(texts: Texts) -> list[str]:
    return [one.path.name for one in texts.pictures]


def test_the_truth_itself_has_the_best_figures(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "caption", captions="description")
    own = {one.path.name: one.captions[0] for one in texts.pictures}
    lake = seen(scenes, tmp_path / "seen", CAPTION, own)
    result = evaluate_output(lake, texts, "caption", BOOTSTRAP)
    figures = only(result).figures()
    assert figures["bleu4"] == pytest.approx(1, abs=1e-6)
    assert figures["rouge_l"] == figures["cider"] == pytest.approx(1)
    assert result.fitness == figures["cider_d"] == pytest.approx(10)
    assert result.notes == ()
    assert result.figures()["captions/cider_d"] == result.fitness
    assert result.table().startswith("12 pictures\n")
    assert json.loads(json.dumps(result.to_dict()))["results"]["captions"]["num_pictures"] == 12


def test_captions_have_the_figures_of_their_evaluator(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "caption")
    first, *rest = names(texts)
    best = [[{"text": f"a picture of {name}"}, {"text": "no"}] for name in rest]
    field = pa.field("captions", CAPTIONS)
    lake = seen(scenes, tmp_path / "seen", field, dict(zip(rest, best, strict=True)), [first])
    result = evaluate_output(lake, texts, "captions", BOOTSTRAP, ["label", "folder"])
    direct = CaptionEvaluator()
    direct.update(
        [str(one.path) for one in texts.pictures],
        ["", *(f"a picture of {name}" for name in rest)],
        [one.captions for one in texts.pictures],
        [{"label": one.kinds["label"]} for one in texts.pictures],
    )
    assert only(result).to_dict() == direct.result(BOOTSTRAP).to_dict()
    assert result.notes == ("1 picture has no value, which counts as a caption without a word",)
    kinds = {kind: one["captions"].to_dict() for kind, one in result.slices["label"].items()}
    wanted = direct.slices("label", BOOTSTRAP)
    assert kinds == {kind: one.to_dict() for kind, one in wanted.items()}
    assert set(result.slices["folder"]) == {"val"}
    assert "cider_d  pictures" in result.table()


def answers_of(one: Told) -> list[dict[str, Any]]:
    return [{"question": each.text, "answer": each.answers[0]} for each in one.questions]


def test_right_answers_are_right(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "answer")
    own = {one.path.name: answers_of(one) for one in texts.pictures}
    result = evaluate_output(
        seen(scenes, tmp_path / "seen", ANSWER, own), texts, "answers", None, ["kind"]
    )
    assert only(result).figures() == {"accuracy": 1, "exact_match": 1, "f1": 1}
    assert only(result).counts["questions"] == sum(len(one.questions) for one in texts.pictures)
    assert result.fitness == 1
    assert {"existence", "count"} <= set(result.slices["kind"])
    assert result.notes == ()


def test_answers_belong_to_questions_by_their_words(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "answer")
    broken, *others = texts.pictures
    own = {}
    for one in others:
        last = {"question": "why?", "answer": "so"}
        wrong = {"question": one.questions[0].text, "answer": "never"}
        given = answers_of(one)
        given[0]["question"] = f" {given[0]['question']} "
        own[one.path.name] = [*given[:-1][::-1], wrong, last]
    lake = seen(scenes, tmp_path / "seen", ANSWER, own, [broken.path.name])
    result = evaluate_output(lake, texts, "answers")
    right = sum(len(one.questions) - 1 for one in others)
    assert only(result).counts == {
        "questions": right + len(broken.questions),
        "pictures": len(texts),
    }
    assert only(result).values["accuracy"] == right / (right + len(broken.questions))
    unasked, unknown, blank = result.notes
    assert unasked.startswith(f"{len(others)} questions of the labels were not asked, such as ")
    assert unknown.startswith(f"{len(others)} questions that were answered are not of the labels")
    assert blank == "1 picture has no value, which counts as no answer to any of its questions"


def test_other_questions_are_refused(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "answer")
    own = {name: [{"question": "why?", "answer": "so"}] for name in names(texts)}
    lake = seen(scenes, tmp_path / "seen", ANSWER, own)
    with pytest.raises(UserError, match=r"none of the questions .* but others such as 'why\?'"):
        evaluate_output(lake, texts, "answers")


class Alphabet:
    """A real encoder of texts: a place for each text that it knows."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.places = {text: place for place, text in enumerate(dict.fromkeys(texts))}

    def embed_text(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.eye(len(self.places), dtype=np.float32)[[self.places[one] for one in texts]]


@pytest.mark.parametrize("several", [False, True])
def test_pictures_with_the_vectors_of_their_texts_are_found(
    scenes: Path, tmp_path: Path, several: bool
) -> None:
    texts = data(scenes, "retrieve", captions="description")
    encoder = Alphabet([one.captions[0] for one in texts.pictures])
    dim = len(encoder.places)
    own = {one.path.name: encoder.embed_text(one.captions)[0].tolist() for one in texts.pictures}
    field = pa.field("embedding", embedding_type(dim))
    if several:
        other = np.full(dim, 0.5 / dim).tolist()
        own = {name: [other, vector] for name, vector in own.items()}
        field = pa.field("embeddings", pa.list_(embedding_type(dim)))
    lost = names(texts)[3]
    del own[lost]
    lake = seen(scenes, tmp_path / "seen", field, own, [lost])
    result = evaluate_output(lake, texts, field.name, BOOTSTRAP, encoder=encoder)
    assert dim == len(texts), "two pictures have the same description"
    for way in ("text_to_image", "image_to_text"):
        assert only(result).values[f"{way}_r1"] == only(result).values[f"{way}_r10"] == 11 / 12
        assert only(result).counts[f"{way}_queries"] == 12
    assert result.fitness == 11 / 12
    assert result.notes == (
        "1 picture has no value, which counts as a picture that is never found",
    )


def test_where_nothing_is_found_figures_stay_finite(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "retrieve")
    encoder = Alphabet([text for one in texts.pictures for text in one.captions])
    field = pa.field("embedding", embedding_type(len(encoder.places)))
    lake = seen(scenes, tmp_path / "seen", field, {}, names(texts))
    result = evaluate_output(lake, texts, "embedding", encoder=encoder)
    assert only(result).values["image_to_text_median_rank"] == np.inf
    figures = result.figures()
    assert "retrieval/image_to_text_median_rank" not in figures
    assert set(figures.values()) == {0}
    assert json.dumps(result.to_dict(), allow_nan=False)
    assert result.notes == (
        "12 pictures have no value, which counts as a picture that is never found",
    )


def test_of_several_vectors_the_best_counts() -> None:
    rng = np.random.default_rng(0)
    vectors, texts = rng.random((5, 4), np.float32), rng.random((3, 4), np.float32)
    counts = np.array([2, 0, 3])
    found = similarities(vectors, counts, texts)
    cosines = vectors @ texts.T
    np.testing.assert_allclose(found[0], cosines[:2].max(axis=0), rtol=1e-6)
    assert (found[1] == -np.inf).all()
    np.testing.assert_allclose(found[2], cosines[2:].max(axis=0), rtol=1e-6)
    part = similarities(vectors, counts, texts, max_cells=7)
    np.testing.assert_allclose(part, found, rtol=1e-6)
    column = pa.array([None, [[1, 2]], [[3, 4], [5, 6]]], pa.list_(embedding_type(2)))
    flat, numbers = unpacked(column.slice(1))
    assert (flat.tolist(), numbers.tolist()) == ([[1, 2], [3, 4], [5, 6]], [1, 2])
    flat, numbers = unpacked(pa.array([[1, 2], None, [3, 4]], embedding_type(2)).slice(1))
    assert (flat.tolist(), numbers.tolist()) == ([[3, 4]], [0, 1])


def test_vectors_of_another_space_are_refused(scenes: Path, tmp_path: Path) -> None:
    texts = data(scenes, "retrieve")
    encoder = Alphabet([text for one in texts.pictures for text in one.captions])
    field = pa.field("embedding", embedding_type(3))
    lake = seen(scenes, tmp_path / "seen", field, {name: [1, 0, 0] for name in names(texts)})
    with pytest.raises(UserError, match=r"vectors of 3 numbers, and the texts of \d+: take"):
        evaluate_output(lake, texts, "embedding", encoder=encoder)
    with pytest.raises(UserError, match="their words must be embedded too: take a model of"):
        evaluate_output(lake, texts, "embedding")


def test_a_classifier_cannot_be_searched(scenes: Path) -> None:
    column = pa.field("embedding", embedding_type(4))
    with pytest.raises(UserError, match="or for an output name the one that made it"):
        judge_of(data(scenes, "retrieve"), column, object())


def test_an_extra_figure_is_of_captions(scenes: Path) -> None:
    with pytest.raises(UserError, match="meteor are figures of captions, and the task is answer"):
        data(scenes, "answer", extra=("meteor",))


def test_pictures_need_not_be_here_where_rows_are_judged(scenes: Path, tmp_path: Path) -> None:
    pictures = data(scenes, "caption").pictures
    entries = [{"image": one.path.name, "caption": list(one.captions)} for one in pictures]
    entries.append({"image": "new.jpg", "caption": "nothing"})
    (tmp_path / "captions.json").write_text(json.dumps(entries))
    file = str(tmp_path / "captions.json")
    with pytest.raises(UserError, match=r"13 of 13 pictures of .* are missing"):
        open_labels(file, "val", "caption")
    own = {one.path.name: one.captions[0] for one in pictures}
    lake = seen(scenes, tmp_path / "seen", CAPTION, own)
    for images in (None, "s3://bucket/photos"):
        texts = open_labels(file, "val", "caption", images=images, local=False)
        result = evaluate_output(lake, texts, "caption")
        assert only(result).counts == {"pictures": 12}
        (note,) = result.notes
        assert note.startswith("the output lacks 1 pictures such as ")
        assert "new.jpg' that are labelled: they do not count" in note
