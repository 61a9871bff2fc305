"""Tiny trainings of BLIP-2's second stage, for several tests."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.training.blip2.job import SecondStageJob

SMALL = {"width": 16, "layers": 2, "heads": 2}
FIRST = {
    "epochs": 1,
    "batch_size": 4,
    "freeze_vision": False,
    "size": {
        "image_size": 32,
        "patch_size": 8,
        "vision": SMALL,
        "qformer": SMALL,
        "num_queries": 3,
        "shared": 8,
    },
}
SECOND = {
    "epochs": 2,
    "batch_size": 4,
    "nominal_batch": 4,
    "max_tokens": 20,
    "size": {"transformer": SMALL, "context": 96},
}
ASKED: dict[str, Any] = {
    "captions": {"prompt": "a picture of"},
    "questions": {"template": "Tell: {} Well:"},
}
"""How the one that tests share is asked."""


def job(scenes: Path, weights: Path, /, **more: Any) -> SecondStageJob:
    given = {"data": str(scenes), "weights": str(weights)}
    return SecondStageJob.model_validate(given | SECOND | more)


def new(scenes: Path, first: Path, /, **more: Any) -> SecondStageJob:
    """Return the training of a first stage with a language model that starts from nothing."""
    return job(scenes, first, freeze_language=False, **more)


def noise() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
