"""What the tests of exporting share: small model folders, opened once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lakesight.exporting.base import Source
from lakesight.exporting.source import open_source
from lakesight.models.yolo.architecture import Task
from tests import yolo_folders


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Keep torch on one thread, and give it back what it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], Path]:
    """Return a function that gives the model folder of a task, written once: do not change it."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(task: Task) -> Path:
        if not (root / task).exists():
            yolo_folders.write(root / task, task)
        return root / task

    return folder


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], Source]:
    """Return a function that gives a task's network as a converter gets it, opened once."""
    root = tmp_path_factory.mktemp("sources")
    sources: dict[Task, Source] = {}

    def source(task: Task) -> Source:
        if task not in sources:
            card = yolo_folders.write(root / task, task)
            scratch = root / f"{task}-scratch"
            scratch.mkdir()
            sources[task] = open_source(card, scratch)
        return sources[task]

    return source
