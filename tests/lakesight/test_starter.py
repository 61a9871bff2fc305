"""The YOLO starters: whole, small, free, and as good as they say on scenes they never saw."""

import json
from pathlib import Path
from typing import get_args

import pytest
import yaml

from lakesight import starter
from lakesight.evaluation import OPTIONS, evaluate
from lakesight.models import catalog
from lakesight.models.base import ModelCard
from lakesight.models.yolo.folder import Contract
from lakesight.training.yolo.datasets import Task
from lakesight.training.yolo.job import TrainJob
from lakesight.training.yolo.sources import open_data
from workflows.scenes import Scenes

CARDS = [card for card in starter.cards() if card.family == "yolo"]
FOLDER = Path(starter.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
TO_REACH = {"detect": 0.80, "segment": 0.70, "pose": 0.80, "obb": 0.75, "classify": 0.97}
"""mAP50-95 of the shape that the task is about, or top-1, on scenes that nothing was chosen by."""
HELD_OUT_SEED = 1007
SLACK = 0.03
"""A hundred pictures tell mAP to about so much; the cards' figures are of a thousand."""


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heldout")
    Scenes(output=str(folder), num_images=0, num_val=100, seed=HELD_OUT_SEED, processes=1).run()
    return folder


def test_there_is_one_for_every_task_and_they_are_small() -> None:
    assert {task_of(card) for card in CARDS} == set(get_args(Task))
    assert sum(path.stat().st_size for path in FOLDER.glob("yolo-*/*")) < 25 << 20


@pytest.mark.parametrize("card", CARDS, ids=[card.name for card in CARDS])
def test_a_starter_is_free_and_says_how_it_was_trained(card: ModelCard) -> None:
    spec = catalog.spec(card.name)
    assert spec.licences_accepted == ()
    contract = Contract.model_validate(card.contract)
    settings = FOLDER / f"yolo-{contract.task}" / "settings.yaml"
    job = TrainJob.model_validate(yaml.safe_load(settings.read_text()))
    assert (job.task, job.image_size) == (contract.task, spec.card.view and spec.card.view.width)
    assert card.name == f"starter-yolo-{job.task}"
    assert job.max_channels == contract.max_channels


@pytest.mark.parametrize("card", CARDS, ids=[card.name for card in CARDS])
def test_a_card_holds_what_was_measured_on_other_scenes(card: ModelCard) -> None:
    """Not what chose its best epoch, which lies beside it in evaluation.json."""
    assert card.metrics["fitness"] >= TO_REACH[task_of(card)]
    how = f"`lakesight scenes heldout --num-images 0 --num-val 1000 --seed {HELD_OUT_SEED}`"
    assert how in card.provenance
    assert f"`lakesight evaluate {card.name} heldout`" in card.provenance
    folder = FOLDER / f"yolo-{task_of(card)}"
    chosen_by = json.loads((folder / "evaluation.json").read_text())
    assert card.metrics["fitness"] != round(chosen_by["fitness"], 4)
    assert f"{card.metrics['fitness']:.3f}" in (DOCS / "models.md").read_text()


@pytest.mark.parametrize("card", CARDS, ids=[card.name for card in CARDS])
def test_a_starter_is_as_good_as_was_asked_and_as_its_card_says(
    card: ModelCard, heldout: Path
) -> None:
    """On scenes that neither its training nor the choice of its best epoch saw."""
    model = catalog.build(catalog.spec(card.name, options=OPTIONS | {"top_k": 12}))
    found = evaluate(model, open_data(str(heldout), "val", task_of(card)))
    assert found.fitness >= TO_REACH[task_of(card)]
    assert found.fitness == pytest.approx(card.metrics["fitness"], abs=SLACK)
    assert found.figures().keys() >= card.metrics.keys()


def task_of(card: ModelCard) -> Task:
    return Contract.model_validate(card.contract).task
