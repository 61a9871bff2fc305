"""How a model is asked that was trained: by its card, as it was asked in training."""

import json
import shutil
from pathlib import Path

import pytest

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.training.blip2.training import SecondStageTraining
from tests.lakesight.training.blip2.second import job
from workflows.__main__ import main


def test_a_model_is_asked_as_it_was_trained(
    second: Path, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that `lakesight evaluate` finds the very figures of the card."""
    metrics = catalog.resolve(str(second)).metrics
    for task, name in {"caption": "captions", "answer": "answers"}.items():
        assert main(["evaluate", str(second), str(scenes), "--task", task, "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)["results"][name]
        known = {key.partition("/")[2]: one for key, one in metrics.items() if f"{name}/" in key}
        assert known
        assert {key: figures[key] for key in known} == pytest.approx(known, abs=1e-4)
    captioner, answerer, cropper = (
        catalog.build(catalog.spec(str(second), kind)).options  # type: ignore[attr-defined]
        for kind in ("caption", "answer", "caption_crops")
    )
    assert (captioner.prompt, captioner.max_new_tokens) == ("a picture of", 20)
    assert (cropper.prompt, cropper.max_new_tokens) == ("a picture of", 20)
    assert answerer.template == "Tell: {} Well:"
    own = catalog.spec(str(second), "caption", {"prompt": None}).options
    assert (own["prompt"], own["max_new_tokens"]) == (None, 20)
    assert main(["models", "show", str(second), "--kind", "answer"]) == 0
    assert "template = Tell: {} Well:" in capsys.readouterr().out


def test_a_card_without_options_means_the_defaults(second: Path, tmp_path: Path) -> None:
    """As those that were written before they held any."""
    shutil.copytree(second, tmp_path / "old")
    card = json.loads((second / "card.json").read_text())
    for contract, prompt in (({}, None), ({"options": {"answer": {"template": "{}?"}}}, None)):
        (tmp_path / "old" / "card.json").write_text(json.dumps(card | {"contract": contract}))
        spec = catalog.spec(str(tmp_path / "old"))
        assert (spec.options["prompt"], spec.options["max_new_tokens"]) == (prompt, 30)
    (tmp_path / "old" / "card.json").write_text(json.dumps(card | {"contract": {"options": 3}}))
    with pytest.raises(UserError, match="the card of writer has a wrong contract: options: Input"):
        catalog.spec(str(tmp_path / "old"))


def test_what_is_not_trained_is_asked_as_before(scenes: Path, second: Path) -> None:
    asked = {"captions": {"share": 0}, "questions": {"template": "{} Say:"}}
    contract = SecondStageTraining(job(scenes, second, **asked)).contract()
    writing = {"prompt": "a picture of", "max_new_tokens": 20}
    assert contract["options"] == {
        "caption": writing,
        "caption_crops": writing,
        "answer": {"template": "{} Say:", "max_new_tokens": 20},
    }
