"""Generated scenes, and a tiny BLIP-2 of either stage that was trained on them."""

from pathlib import Path

import pytest

from lakesight.training.blip2.job import FirstStageJob
from lakesight.training.blip2.training import FirstStageTraining, SecondStageTraining
from tests.lakesight.training.blip2.second import ASKED, FIRST, new
from workflows.scenes import Scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    Scenes(output=str(folder), num_images=8, num_val=4, seed=3, size="64", processes=1).run()
    return folder


@pytest.fixture(scope="session")
def first(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "finder"
    training = FirstStageTraining(FirstStageJob.model_validate({"data": str(scenes)} | FIRST))
    training.fit(folder)
    training.finish(folder)
    return folder


@pytest.fixture(scope="session")
def second(scenes: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("second") / "writer"
    training = SecondStageTraining(new(scenes, first, **ASKED))
    training.fit(made, training.followers())
    training.finish(made)
    return made
