"""The BLIP-2 starter: small, free, and as good as it says on scenes that it never saw."""

from pathlib import Path

import pytest
import yaml

import lakesight
from lakesight import starter
from lakesight.models import catalog
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


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in FOLDER.glob("blip2*/*")]
    assert sizes
    assert sum(sizes) < 25 << 20


def test_the_finder_is_free_and_says_how_it_was_trained() -> None:
    """From nothing: the tower, then the rest, with every setting beside it."""
    assert catalog.spec(FINDER).licences_accepted == ()
    card = catalog.resolve(FINDER)
    assert card.knows == "scenes"
    assert HELD_OUT in card.provenance
    rest, tower = (
        FirstStageJob.model_validate(yaml.safe_load((FOLDER / "blip2-retrieve" / name).read_text()))
        for name in ("settings.yaml", "tower.yaml")
    )
    assert (rest.weights, tower.weights) == ("./tower", None)


def test_the_docs_have_the_figures_of_the_card() -> None:
    text, metrics = (DOCS / "models.md").read_text(), catalog.resolve(FINDER).metrics
    assert metrics
    assert all(f"{value:.3f}" in text for value in metrics.values())


def test_pictures_are_found_by_descriptions(heldout: str) -> None:
    """Among sixty it is easier than among the thousand of the card."""
    found = lakesight.load(FINDER).evaluate(heldout, captions="description").figures()
    known = catalog.resolve(FINDER).metrics
    for name in ("retrieval/text_to_image_r1", "retrieval/image_to_text_r1"):
        assert found[name] >= known[name]
