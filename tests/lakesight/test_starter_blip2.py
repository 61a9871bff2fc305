"""The BLIP-2 starters: small, free, and as good as they say on scenes that they never saw."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakesight
from lakesight import starter
from lakesight.models import catalog
from lakesight.models.base import ModelCard
from lakesight.training.blip2.job import FirstStageJob
from workflows.scenes import Scenes

FINDER = "starter-blip2-retrieve"
FOLDER = Path(starter.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
HELD_OUT = "lakesight scenes small-heldout --num-images 0 --num-val 1000 --size 224 --seed 1007"
NUM_LOOKED_AT = 60


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("heldout"))
    Scenes(output=folder, num_images=0, num_val=NUM_LOOKED_AT, size="224", seed=1007).run()
    return folder


def cards() -> list[ModelCard]:
    return [catalog.resolve(name) for name in (FINDER,)]


def steps(of: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the trainings of a starter by name, the last first, each from what the next gave."""
    files = {
        "tower": "blip2-retrieve/tower.yaml",
        FINDER: "blip2-retrieve/settings.yaml",
    }
    name: str | None = of
    while name:
        settings = yaml.safe_load((FOLDER / files[name]).read_text())
        yield name, settings
        name = (settings["weights"] or "").removeprefix("./")


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in FOLDER.glob("blip2*/*")]
    assert sizes
    assert sum(sizes) < 25 << 20


@pytest.mark.parametrize("name", [FINDER])
def test_a_starter_is_free_and_says_how_it_was_trained(name: str) -> None:
    """From nothing, by trainings whose every setting lies beside it."""
    assert catalog.spec(name).licences_accepted == ()
    card = catalog.resolve(name)
    assert card.knows == "scenes"
    assert HELD_OUT in card.provenance
    jobs = dict(steps(name))
    assert list(jobs)[-1] == "tower"
    for settings in jobs.values():
        FirstStageJob.model_validate(settings)


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_the_docs_have_the_figures_of_the_card(card: ModelCard) -> None:
    text = (DOCS / "models.md").read_text()
    assert card.metrics
    assert all(f"{value:.3f}" in text for value in card.metrics.values())


def test_pictures_are_found_by_descriptions(heldout: str) -> None:
    """Among sixty it is easier than among the thousand of the card."""
    found = lakesight.load(FINDER).evaluate(heldout, captions="description").figures()
    known = catalog.resolve(FINDER).metrics
    for name in ("retrieval/text_to_image_r1", "retrieval/image_to_text_r1"):
        assert found[name] >= known[name]
