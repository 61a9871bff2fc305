"""What a training is bound to, and what its model is called."""

from pathlib import Path

import pytest
import yaml

from lakesight.errors import UserError
from lakesight.training.job import SETTINGS, STATE, TrainJob, bind, model_name


def test_settings_that_are_older_than_a_flag_have_its_default(tmp_path: Path) -> None:
    bind(TrainJob(data="d"), tmp_path)
    path = tmp_path / STATE / SETTINGS
    written = yaml.safe_load(path.read_text())
    del written["patience"], written["augmentation"]["mixup"]
    path.write_text(yaml.safe_dump(written))
    assert not bind(TrainJob(data="d"), tmp_path)
    with pytest.raises(UserError, match="patience: 100, now 5"):
        bind(TrainJob(data="d", patience=5), tmp_path)


def test_settings_that_are_newer_are_refused(tmp_path: Path) -> None:
    bind(TrainJob(data="d"), tmp_path)
    path = tmp_path / STATE / SETTINGS
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"telepathy": True}))
    with pytest.raises(UserError, match="another version"):
        bind(TrainJob(data="d"), tmp_path)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("out/Tuned_2", "tuned_2"),
        ("s3://lake/models/cars/", "cars"),
        ("Größe 3", "gr-e-3"),
        ("--", "trained"),
    ],
)
def test_a_model_is_called_after_its_place(place: str, name: str) -> None:
    assert model_name(place) == name
