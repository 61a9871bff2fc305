"""What the tests of evaluation share: scenes, and small models that find something on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lakesight.models.yolo.architecture import Task
from tests import yolo_folders
from workflows.__main__ import main


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of scenes, 12 of them to validate on, larger than what the models see."""
    folder = tmp_path_factory.mktemp("evaluated") / "scenes"
    words = ["--num-images", "2", "--num-val", "12", "--size", "160", "--processes", "1"]
    assert main(["scenes", str(folder), *words]) == 0
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], str]:
    """Return a function that gives the model folder of a task, written once: do not change it."""
    root = tmp_path_factory.mktemp("judged")

    def folder(task: Task) -> str:
        if not (root / task).exists():
            yolo_folders.write(root / task, task)
        return str(root / task)

    return folder
