"""The Ray side of an evaluation: an actor that judges shares, by its model or of an output."""

import os
from contextlib import suppress
from typing import Any

from lakesight.errors import UserError
from lakesight.evaluation import Judge, Share, Texts, add_pictures, add_rows
from lakesight.lake.store import StoreError
from lakesight.models import catalog
from lakesight.models.base import Frozen, Model, ModelSpec
from lakesight.training.yolo.datasets import Pictures


class JudgingConfig(Frozen):
    """What an actor needs to judge."""

    spec: ModelSpec | None
    """The model that is judged; None where the rows of an output are."""
    num_threads: int
    on_gpu: bool
    here: str
    """The folder that relative paths are in."""


class Judging:
    """Judges one share after the other, each from nothing: one that is lost is judged again."""

    def __init__(self, config: JudgingConfig) -> None:
        os.environ["OMP_NUM_THREADS"] = str(config.num_threads)  # before torch is imported
        if not config.on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from who asked for none
        with suppress(FileNotFoundError):
            os.chdir(config.here)
        self._refusal: UserError | StoreError | None = None
        self._model = self._built(config)

    def _built(self, config: JudgingConfig) -> Model | None:
        """Build the model. Ray loses an error of a constructor, so the first call raises it."""
        try:
            return catalog.build(config.spec, config.num_threads) if config.spec else None
        except (UserError, StoreError) as error:
            self._refusal = error
            return None

    def look(self, judge: Judge[Any], share: Pictures | Texts, batch_size: int) -> Judge[Any]:
        """Return a judge after it saw what the model finds on some pictures."""
        if self._refusal:
            raise self._refusal
        assert self._model is not None
        add_pictures(judge, self._model, share, batch_size)
        return judge

    def read(self, judge: Judge[Any], share: Share, column: str) -> Judge[Any]:
        """Return a judge after it saw some rows."""
        add_rows(judge, share, column)
        return judge
