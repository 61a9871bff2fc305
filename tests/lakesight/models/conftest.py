"""Checkpoints, models and pictures for the tests of the transformers families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakesight.models.base import Image
from lakesight.models.families import family_of
from lakesight.models.hub import card_for

from . import tiny


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny checkpoint by its name in `tiny.WRITERS`, written once."""
    written: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in written:
            written[name] = tiny.write(name, tmp_path_factory.mktemp(name) / name)
        return written[name]

    return folder


@pytest.fixture(scope="session")
def load() -> Callable[..., Any]:
    """Return the model of a checkpoint's folder, of the family that `card_for` finds for it."""

    def model(folder: Path, runtime: str = "auto", **options: Any) -> Any:
        card = card_for(str(folder))
        assert card is not None
        family = family_of(card).load()
        return family(card, folder, family.Options(device="cpu", **options), runtime)

    return model


@pytest.fixture(scope="session")
def pictures() -> Callable[..., list[Image]]:
    """Return `count` pictures of noise, each its own, all of one size."""

    def draw(count: int, width: int = 32, height: int = 32) -> list[Image]:
        sources = (np.random.default_rng(number) for number in range(count))
        return [one.integers(0, 256, (height, width, 3), dtype=np.uint8) for one in sources]

    return draw
