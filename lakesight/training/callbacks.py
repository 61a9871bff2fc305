"""Callbacks that come with training: a CSV file, a picture of it, TensorBoard, MLflow.

The last two need `pip install 'lakesight[tracking]'`, and say so.
"""

import csv
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.files import whole, write_whole
from lakesight.training.loop import BEST, Callback, Progress
from lakesight.training.settings import LoopSettings, flat

log = logging.getLogger(__name__)

RESULTS = "results.csv"
CURVES = "curves.png"
Row = Mapping[str, float]
"""What one epoch came to; `epoch` counts from 1."""


class CsvLog(Callback):
    """Writes `results.csv`: one row an epoch, whole after every epoch."""

    def on_start(self, settings: LoopSettings, folder: Path) -> None:
        """Remember the folder."""
        self._path = folder / RESULTS

    def on_epoch(self, progress: Progress) -> None:
        """Write all rows again; a resumed training has no row twice."""
        names = dict.fromkeys(name for row in progress.history for name in row)
        with whole(self._path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(progress.history)


class Curves(Callback):
    """Draws at the end `curves.png`: losses and metrics by epoch. A failure is a warning."""

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Draw the curves."""
        from lakesight.plots import curves, save, spared  # matplotlib takes a while to import

        with spared("the curves"):
            save(curves(progress.history), folder / CURVES)


class Tracker(Callback):
    """Sends every epoch's row somewhere else, once, and never costs a training.

    What fails is logged as one warning, and tried again after the next epoch and at the end, with
    all rows that are missing there. A subclass says how to begin, send and finish.
    """

    _start: tuple[LoopSettings, Path]
    _last_epoch: int | None = None
    """The last epoch that is there; None until it has begun."""
    _is_failing = False

    def begin(self, settings: LoopSettings, folder: Path) -> int:
        """Begin, or take up what was begun for this folder; return the last epoch that is there."""
        raise NotImplementedError

    def send(self, row: Row) -> None:
        """Send one epoch's row."""
        raise NotImplementedError

    def finish(self, folder: Path) -> None:
        """Finish: all rows are there, and the folder has all files."""

    def fail(self) -> None:
        """Say that the training ended before its end."""

    def on_failure(self, error: BaseException) -> None:
        """Say so where it has begun; it may be taken up again."""
        if self._last_epoch is None:
            return
        try:
            self.fail()
        except Exception as failure:
            self._warn(failure, is_end=True)

    def on_start(self, settings: LoopSettings, folder: Path) -> None:
        """Begin."""
        self._start, self._last_epoch, self._is_failing = (settings, folder), None, False
        self._catch_up(())

    def on_epoch(self, progress: Progress) -> None:
        """Send the rows that are not there yet: this one, and what failed before."""
        self._catch_up(progress.history)

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Send what is missing, and finish."""
        self._catch_up(progress.history, is_end=True)

    def _catch_up(self, rows: Sequence[Row], *, is_end: bool = False) -> None:
        settings, folder = self._start
        try:
            if self._last_epoch is None:
                self._last_epoch = self.begin(settings, folder)
            for row in rows:
                if row["epoch"] > self._last_epoch:
                    self.send(row)
                    self._last_epoch = int(row["epoch"])
            if is_end:
                self.finish(folder)
        except Exception as error:
            self._warn(error, is_end=is_end)
        else:
            self._is_failing = False

    def _warn(self, error: Exception, *, is_end: bool) -> None:
        name = type(self).__name__
        if is_end:
            log.warning("%s lacks the end of this training: %s", name, error)
        elif not self._is_failing:
            log.warning("%s fails; training goes on, it tries again: %s", name, error)
        self._is_failing = True


class TensorBoard(Tracker):
    """Writes every number of every epoch as a TensorBoard scalar below the folder."""

    def __init__(self) -> None:
        try:
            import tensorboard  # noqa: F401 - torch's writer needs it, and so does our reading
        except ImportError as error:
            raise UserError("TensorBoard needs pip install 'lakesight[tracking]'") from error

    def begin(self, settings: LoopSettings, folder: Path) -> int:
        """Open an event file, beside those of before.

        A kill may have left the newest row in part: it is to be written again, in its stead.
        """
        from torch.utils.tensorboard import SummaryWriter

        place = folder / "tensorboard"
        newest = _newest_step(place)
        self._writer = SummaryWriter(str(place), purge_step=newest)
        return max(0, newest - 1)

    def send(self, row: Row) -> None:
        """Write a row."""
        for name, value in row.items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def finish(self, folder: Path) -> None:
        """Close the event file."""
        self._writer.close()


def _newest_step(place: Path) -> int:
    """Return the largest step of any scalar in a folder of event files, 0 where there is none."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not place.is_dir():
        return 0
    events = EventAccumulator(str(place)).Reload()
    last = (events.Scalars(tag)[-1].step for tag in events.Tags()["scalars"])
    return max(last, default=0)


class MLflow(Tracker):
    """Logs settings, numbers, plots and the best weights to the server of `MLFLOW_TRACKING_URI`.

    The run is called `run_name`, or else as the model's folder, in which the training's lies. A
    resumed training goes on with its run, whose id is kept in the folder; where the server has not
    got that run, it begins another. UserError where no server is named.
    """

    def __init__(self, experiment: str = "lakesight", run_name: str | None = None) -> None:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            raise UserError("MLflow needs a server: set MLFLOW_TRACKING_URI, as http://host:5000")
        # It would try for minutes, and we try again after the next epoch; and what is trained here
        # is nobody's business.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            import mlflow
        except ImportError as error:
            raise UserError("MLflow needs pip install 'lakesight[tracking]'") from error
        self._mlflow: Any = mlflow
        self._experiment, self._run_name = experiment, run_name

    def begin(self, settings: LoopSettings, folder: Path) -> int:
        """Start a run, or take up the one that the folder names."""
        self._client = self._mlflow.MlflowClient()
        file = folder / "mlflow_run_id"
        run = self._known(file.read_text().strip()) if file.is_file() else None
        if run is None:
            name = self._run_name or folder.resolve().parent.name
            run = self._client.create_run(self._experiment_id(), run_name=name)
            write_whole(file, run.info.run_id)
        self._run_id = run.info.run_id
        if not run.data.params:
            values = flat(settings.model_dump(mode="json"))
            params = [self._mlflow.entities.Param(name, str(one)) for name, one in values.items()]
            self._client.log_batch(self._run_id, params=params)
        self._client.update_run(self._run_id, status="RUNNING")
        return int(run.data.metrics.get("epoch", 0))

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        id_: str = (
            found.experiment_id if found else self._client.create_experiment(self._experiment)
        )
        return id_

    def _known(self, run_id: str) -> Any:
        """Return a run, or None where the server has not got it any more."""
        try:
            run = self._client.get_run(run_id)
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def send(self, row: Row) -> None:
        """Log a row, `epoch` too: it says what the run has."""
        now_ms, epoch = int(time.time() * 1000), int(row["epoch"])
        metrics = [self._mlflow.entities.Metric(*each, now_ms, epoch) for each in row.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self, folder: Path) -> None:
        """Log the files, and end the run."""
        for path in (folder / BEST, folder / RESULTS, *sorted(folder.glob("*.png"))):
            if path.is_file():
                self._client.log_artifact(self._run_id, str(path))
        self._client.set_terminated(self._run_id)

    def fail(self) -> None:
        """End the run as failed."""
        self._client.set_terminated(self._run_id, status="FAILED")
