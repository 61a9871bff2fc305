"""A model that fails is the fault of the server, whatever the picture: logged, and told as such."""

import asyncio
import logging
import threading
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from lakesight.models import catalog
from lakesight.models.base import Image
from lakesight.online.answering import results
from lakesight.online.following import Follower
from lakesight.online.opened import BatchLimits, Look, Opened, Seen
from lakesight.online.problems import Problem
from lakesight.online.shop import Looked

SPEC = catalog.spec("starter-yolo-classify")
SECRET = "/a/path"


class Broken:
    """A classifier whose device is gone, and which cannot take pictures that are all white."""

    card, view, output = SPEC.card, SPEC.card.view, pa.field("classes", pa.string())
    concurrent, runs_on = False, "nothing"

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        if all((view == 255).all() for view in views):
            raise ValueError("a picture is all white")
        raise RuntimeError(SECRET)


def seen(value: int) -> Seen:
    async def run() -> Seen:
        limits = BatchLimits(max_batch=4, max_wait_s=0.0, num_threads=1)
        opened = Opened(SPEC, Broken(), limits, Follower(), threading.Lock())  # type: ignore[arg-type]
        try:
            return await opened.see(Look(np.full((8, 8, 3), value, np.uint8), 8, 8))
        finally:
            opened.close()

    return asyncio.run(run())


def test_a_model_that_fails_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = seen(7).error
    assert error is not None
    assert (error.stage, error.type) == ("classify", "RuntimeError")
    assert SECRET not in error.message
    assert "RuntimeError at " in caplog.text
    assert "test_opened.py" in caplog.text
    with pytest.raises(Problem) as caught:
        results([Looked(error=error)], ["classes"])
    assert caught.value.status == 500


def test_a_picture_that_a_model_cannot_take_is_a_422(caplog: pytest.LogCaptureFixture) -> None:
    error = seen(255).error
    assert error == ("classify", "ValueError", "a picture is all white", False)
    assert not caplog.text
    with pytest.raises(Problem) as caught:
        results([Looked(error=error)], ["classes"])
    assert caught.value.status == 422
