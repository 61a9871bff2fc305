"""The BLIP-2 starters: small, free, and as good as they say on scenes that they never saw."""

from pathlib import Path

import pytest
import yaml

import lakesight
from lakesight import starter
from lakesight.models import catalog
from lakesight.training.blip2.job import FirstStageJob, SecondStageJob
from workflows.scenes import Scenes

FINDER, WRITER = "starter-blip2-retrieve", "starter-blip2-write"
FOLDER = Path(starter.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
HELD_OUT = "lakesight scenes small-heldout --num-images 0 --num-val 1000 --size 224 --seed 1007"
NUM_LOOKED_AT = 60


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("heldout"))
    Scenes(output=folder, num_images=0, num_val=NUM_LOOKED_AT, size="224", seed=1007).run()
    return folder


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in FOLDER.glob("blip2*/*")]
    assert sizes
    assert sum(sizes) < 25 << 20


@pytest.mark.parametrize("name", [FINDER, WRITER])
def test_they_are_free_and_judged_by_scenes_of_another_seed(name: str) -> None:
    assert catalog.spec(name).licences_accepted == ()
    card = catalog.resolve(name)
    assert card.knows == "scenes"
    assert HELD_OUT in card.provenance


def test_they_say_how_they_were_trained() -> None:
    """From nothing: the tower, the finder, then the writer four times; all settings are there."""
    rest, tower = (
        FirstStageJob.model_validate(yaml.safe_load((FOLDER / "blip2-retrieve" / name).read_text()))
        for name in ("settings.yaml", "tower.yaml")
    )
    assert (rest.weights, tower.weights) == ("./tower", None)
    weights = [
        SecondStageJob.model_validate(
            yaml.safe_load((FOLDER / "blip2-write" / f"{name}.yaml").read_text())
        ).weights
        for name in ("first", "second", "third", "settings")
    ]
    assert weights == [f"./{FINDER}", "./writer", "./writer2", "./writer3"]


@pytest.mark.parametrize("name", [FINDER, WRITER])
def test_the_docs_have_the_figures_of_the_card(name: str) -> None:
    text, metrics = (DOCS / "models.md").read_text(), catalog.resolve(name).metrics
    assert metrics
    assert all(f"{value:.3f}" in text for value in metrics.values())


def test_pictures_are_found_by_descriptions(heldout: str) -> None:
    """Among sixty it is easier than among the thousand of the card."""
    found = lakesight.load(FINDER).evaluate(heldout, captions="description").figures()
    known = catalog.resolve(FINDER).metrics
    for name in ("retrieval/text_to_image_r1", "retrieval/image_to_text_r1"):
        assert found[name] >= known[name]


def test_scenes_are_described_and_questions_answered(heldout: str) -> None:
    """Of sixty the figures are within what chance gives of those of the card's thousand."""
    known = catalog.resolve(WRITER).metrics
    writer = lakesight.load(WRITER, kind="caption")
    told = writer.evaluate(heldout, captions="description").figures()
    assert told["captions/cider_d"] > 0.8 * known["captions/cider_d"]
    answered = lakesight.load(WRITER, kind="answer").evaluate(heldout).figures()
    assert answered["answers/accuracy"] > known["answers/accuracy"] - 0.06
