"""What a second stage may start from, and what it is told."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lakesight.errors import UserError
from lakesight.models.licences import ALLOWED
from lakesight.training.binding import bind
from lakesight.training.blip2.training import SecondStageTraining
from lakesight.training.loop import SETTINGS, STATE
from tests.lakesight.models import tiny
from tests.lakesight.training.blip2.second import job, new


@pytest.mark.parametrize(
    ("write", "readme", "licence"),
    [
        (tiny.write_opt, None, "opt-175b-licence"),
        (tiny.write_opt, "license: other", "opt-175b-licence"),
        (tiny.write_opt, "license: cc-by-nc-4.0", "cc-by-nc-4.0"),
        (tiny.write_opt, "license: mit", "MIT"),
        (tiny.write_t5, None, "Apache-2.0"),
    ],
)
def test_the_licence_of_a_language_model_is_nobodys_guess(
    write: Any, readme: str | None, licence: str, scenes: Path, first: Path, tmp_path: Path
) -> None:
    language = write(tmp_path / "language")
    if readme:
        (language / "README.md").write_text(f"---\n{readme}\n---\n")
    given: dict[str, Any] = {"language_model": str(language), "questions": {"share": 0.0}}
    if licence not in ALLOWED:
        with pytest.raises(UserError, match=f"language model of language are under '{licence}'"):
            SecondStageTraining(job(scenes, first, **given))
    training = SecondStageTraining(job(scenes, first, allow_licence=[licence], **given))
    assert training.begin().licences.language_model == licence
    stated = SecondStageTraining(job(scenes, first, language_licence="MIT", **given))
    assert stated.begin().licences.language_model == "MIT"


def test_a_second_stage_has_its_language_model(scenes: Path, second: Path, tmp_path: Path) -> None:
    language = tiny.write_opt(tmp_path / "language")
    with pytest.raises(UserError, match="is a second stage and has its language model: leave"):
        SecondStageTraining(job(scenes, second, language_model=str(language)))


def test_settings_of_trainings_before_are_the_same(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    """They lack what came later, and name a licence of no language model."""
    given = new(scenes, first)
    bind(given, tmp_path)
    path = tmp_path / STATE / SETTINGS
    written = yaml.safe_load(path.read_text())
    for part in ("captions", "questions"):
        for later in ("data", "val", "images", "val_images"):
            del written[part][later]
    path.write_text(yaml.safe_dump(written | {"language_licence": "LicenseRef-own"}))
    assert not bind(given, tmp_path)
    with pytest.raises(UserError, match=r"other settings \(captions: .*'data': 'other'"):
        bind(new(scenes, first, captions={"data": "other"}), tmp_path)


def test_mistakes_are_said(scenes: Path, first: Path) -> None:
    with pytest.raises(UserError, match="begins with a first one"):
        SecondStageTraining(new(scenes, first, weights=None))
    with pytest.raises(UserError, match="expected a BLIP-2"):
        SecondStageTraining(new(scenes, first, weights="starter-yolo-detect"))
    with pytest.raises(UserError, match="a language model is one of opt, t5"):
        SecondStageTraining(job(scenes, first, language_model=str(first)))
    with pytest.raises(UserError, match=r"language model starts from nothing.*freeze-language, or"):
        SecondStageTraining(job(scenes, first))
    with pytest.raises(ValueError, match="nothing is learned"):
        job(scenes, first, captions={"share": 0}, questions={"share": 0})
    with pytest.raises(ValueError, match="lora is for a language model that is kept"):
        job(scenes, first, lora=2, freeze_language=False)
    with pytest.raises(ValueError, match="once, for the question"):
        job(scenes, first, questions={"template": "Answer!"})
    with pytest.raises(ValueError, match="the prompt is empty"):
        job(scenes, first, captions={"prompt": " "})
    training = SecondStageTraining(new(scenes, first, captions={"prompt": "a " * 90}))
    with pytest.raises(UserError, match=r"takes 9\d tokens.*which is max_tokens in a training"):
        training.recipe(training.begin())
