"""Where the workers of a training tell how far they are, for the driver to read."""

import time
from collections.abc import Mapping
from typing import Any

import ray

from lakesight.training.loop import Callback, Progress


@ray.remote(num_cpus=0)
class Board:
    """What has been told so far."""

    def __init__(self) -> None:
        self._done = 0.0
        self._before = 0
        self._rows: list[dict[str, float]] = []

    def tell(self, done: float, before: int) -> None:
        """Write down how many epochs are done, and how many of them were before this start."""
        self._done, self._before = done, before

    def add(self, row: dict[str, float]) -> None:
        """Write down an epoch's row."""
        self._rows.append(row)

    def told(self, first: int) -> tuple[float, int, list[dict[str, float]]]:
        """Return what was last told, and the rows from number `first` (from 0) on."""
        return self._done, self._before, self._rows[first:]


class Told(Callback):
    """Tells a board, at most once a second between two epochs."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._last = 0.0
        self._before: int | None = None

    def on_step(self, epoch: int, step: int, num_steps: int, losses: Mapping[str, float]) -> None:
        """Tell how far it is."""
        if self._before is None:
            self._before = epoch - 1
        now = time.monotonic()
        if now - self._last > 1 or step == num_steps:
            self._last = now
            self._board.tell.remote(epoch - 1 + step / num_steps, self._before)

    def on_epoch(self, progress: Progress) -> None:
        """Tell what the epoch gave."""
        ray.get(self._board.add.remote(progress.history[-1]))
