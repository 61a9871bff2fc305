"""A model that fails: on one picture, on all, for want of memory, for a mistake of the user."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models import catalog
from lakesight.models.base import Image
from lakesight.models.guard import see


class Brightness:
    """The simplest model: the mean of each picture, unless `fails` raises for the batch."""

    card = catalog.built_in()["efficientnet-lite3"]
    view = ImageView(width=1, height=1)
    output = pa.field("brightness", pa.float32())
    runs_on = "numpy on cpu"
    concurrent = True

    def __init__(self, fails: Callable[[Sequence[Image]], None] = lambda views: None) -> None:
        self.fails = fails
        self.batches: list[int] = []

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        self.batches.append(len(views))
        self.fails(views)
        assert rows["row"].to_pylist() == [int(view.mean()) for view in views]
        return pa.array([view.mean() for view in views], pa.float32())


VIEWS = [np.full((1, 1, 3), value, np.uint8) for value in range(10)]
ROWS = pa.table({"row": list(range(10))})


def refuse(*bad: int) -> Callable[[Sequence[Image]], None]:
    def fails(views: Sequence[Image]) -> None:
        if found := [int(view.mean()) for view in views if view.mean() in bad]:
            raise ArithmeticError(f"cannot see {found}")

    return fails


def test_a_batch_that_works_is_one_call() -> None:
    model = Brightness()
    seen = see(model, VIEWS, ROWS, max_batch=16)
    assert seen.values.to_pylist() == list(range(10))
    assert not seen.errors
    assert model.batches == [10]


def test_calls_are_no_larger_than_allowed() -> None:
    model = Brightness()
    assert see(model, VIEWS, ROWS, max_batch=4).values.to_pylist() == list(range(10))
    assert model.batches == [4, 4, 2]


@pytest.mark.parametrize("bad", [(0,), (9,), (3, 4), (0, 5, 9), tuple(range(10))])
def test_only_the_pictures_that_fail_fail(bad: tuple[int, ...]) -> None:
    seen = see(Brightness(refuse(*bad)), VIEWS, ROWS, max_batch=8)
    assert seen.values.to_pylist() == [None if row in bad else row for row in range(10)]
    assert {row: str(error) for row, error in seen.errors.items()} == {
        row: f"cannot see [{row}]" for row in bad
    }
    assert seen.max_batch > 10


def test_out_of_memory_makes_calls_smaller_for_good() -> None:
    def fails(views: Sequence[Image]) -> None:
        if len(views) > 3:
            raise MemoryError

    model = Brightness(fails)
    seen = see(model, VIEWS, ROWS, max_batch=8)
    assert seen.values.to_pylist() == list(range(10))
    assert seen.max_batch == 2
    assert model.batches == [8, 4, 2, 2, 4, 2, 2, 2]


def test_a_mistake_of_the_user_is_no_error_row() -> None:
    def fails(views: Sequence[Image]) -> None:
        raise UserError("pose needs a detector")

    with pytest.raises(UserError, match="pose needs"):
        see(Brightness(fails), VIEWS, ROWS, max_batch=8)
