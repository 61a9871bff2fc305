"""Captions, answers and search by models: the figures of what each says by itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.evaluation import Texts, evaluate
from lakesight.metrics import (
    AnswerEvaluator,
    Bootstrap,
    CaptionEvaluator,
    LanguageResult,
    RetrievalEvaluator,
)
from lakesight.models import catalog
from lakesight.models.answerer import Answerer, AnswererOptions
from lakesight.models.hub import card_for
from lakesight.models.look import draw_view, look
from lakesight.training.blip2.texts import Question
from tests.lakesight.models import tiny
from tests.worded import data, only

BOOTSTRAP = Bootstrap(resamples=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiny checkpoints."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in ("blip2-opt", "blip2-itc"):
        tiny.write(name, root / name)
    return root


def built(folder: Path, **options: Any) -> Any:
    accepted = ["unknown", "opt-175b-licence"]
    given = {"device": "cpu", **options}
    return catalog.build(catalog.spec(str(folder), options=given, licences_accepted=accepted))


def test_a_captioner_is_judged_by_what_it_writes(scenes: Path, folder: Path) -> None:
    texts = data(scenes, "caption")
    captioner = built(folder / "blip2-opt", max_new_tokens=6)
    counts: list[int] = []
    result = evaluate(captioner, texts, BOOTSTRAP, batch_size=5, told=counts.append)
    assert counts == [5, 10, 12]
    written = look(captioner, [one.path for one in texts.pictures]).to_pylist()
    direct = CaptionEvaluator()
    references = [one.captions for one in texts.pictures]
    direct.update([str(one.path) for one in texts.pictures], written, references)
    assert only(result).to_dict() == direct.result(BOOTSTRAP).to_dict()
    with pytest.raises(UserError, match="'caption' suits the task caption, not answer"):
        evaluate(captioner, data(scenes, "answer"))


def test_an_answerer_is_asked_the_questions_of_each_picture(scenes: Path, folder: Path) -> None:
    questions = (Question("a dog?", ("yes",), "existence"), Question("two?", ("1", "2")))
    some = data(scenes, "answer").pictures[:3]
    pictures = [replace(one, questions=questions[: 1 + n % 2]) for n, one in enumerate(some)]
    texts = Texts(pictures, "answer")
    card = card_for(str(folder / "blip2-opt"))
    assert card is not None
    options = AnswererOptions(candidates=("yes", "no", "1", "2"), template="{}", device="cpu")
    answerer = Answerer(card, folder / "blip2-opt", options, "auto")
    result = evaluate(answerer, texts, None, ["kind"], batch_size=2)
    direct = AnswerEvaluator()
    for one in texts.pictures:
        asked = [each.text for each in one.questions]
        (found,) = look(answerer, [one.path], questions=pa.array([asked])).to_pylist()
        direct.update(
            [f"{one.path}#{number}" for number in range(len(asked))],
            [each["answer"] for each in found],
            [each.answers for each in one.questions],
        )
    assert only(result).figures() == direct.result().figures()
    assert only(result).counts == {"questions": 4, "pictures": 3}
    kind = result.slices["kind"]["existence"]["answers"]
    assert isinstance(kind, LanguageResult)
    assert kind.counts["questions"] == 3
    assert result.notes == ()
    endless = replace(texts.pictures[1], questions=(Question("why " * 100, ("so",)),))
    with pytest.raises(
        UserError, match=r"one of the pictures from .*000000\.jpg on: .* takes \d+ tok"
    ):
        evaluate(answerer, Texts([texts.pictures[0], endless], "answer"))


def test_an_image_text_model_is_judged_by_all_its_vectors(scenes: Path, folder: Path) -> None:
    texts = data(scenes, "retrieve")
    model = built(folder / "blip2-itc")
    result = evaluate(model, texts, BOOTSTRAP, batch_size=5)
    views = [draw_view(one.path, model.view).pixels for one in texts.pictures]
    keys = [str(one.path) for one in texts.pictures]
    owners = [str(one.path) for one in texts.pictures for _ in one.captions]
    captions = [text for one in texts.pictures for text in one.captions]
    direct = RetrievalEvaluator()
    direct.update(
        keys,
        [f"{owner}#{number}" for number, owner in enumerate(owners)],
        model.similarity(views, captions),
        owners,
    )
    assert only(result).to_dict() == direct.result(BOOTSTRAP).to_dict()
