"""Callbacks that come with training: a CSV file, TensorBoard, MLflow.

The last two need `pip install 'lakesight[tracking]'`, and say so.
"""

import csv
from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.training.loop import Progress
from lakesight.training.settings import TrainSettings


class CsvLog:
    """Writes `results.csv`: one row an epoch, whole after every epoch."""

    def on_start(self, settings: TrainSettings, folder: Path) -> None:
        """Remember the folder."""
        self._path = folder / "results.csv"

    def on_epoch(self, progress: Progress) -> None:
        """Write all rows again; a resumed training has no row twice."""
        names = sorted({name for row in progress.history for name in row})
        part = self._path.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(progress.history)
        part.replace(self._path)

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Nothing is left to do."""


class TensorBoard:
    """Writes every number of every epoch as a TensorBoard scalar below the folder."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("TensorBoard needs pip install 'lakesight[tracking]'") from error
        self._open: Any = SummaryWriter

    def on_start(self, settings: TrainSettings, folder: Path) -> None:
        """Open the event file."""
        self._writer = self._open(str(folder / "tensorboard"))

    def on_epoch(self, progress: Progress) -> None:
        """Write the newest row."""
        row = progress.history[-1]
        for name, value in row.items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Close the event file."""
        self._writer.close()


class MLflow:
    """Logs settings, numbers and the best weights to the tracking server of `MLFLOW_TRACKING_URI`.

    A resumed training goes on with its run, whose id is kept in the folder.
    """

    def __init__(self, experiment: str = "lakesight") -> None:
        try:
            import mlflow
        except ImportError as error:
            raise UserError("MLflow needs pip install 'lakesight[tracking]'") from error
        self._mlflow: Any = mlflow
        self._experiment = experiment

    def on_start(self, settings: TrainSettings, folder: Path) -> None:
        """Start a run, or take up the one that the folder names."""
        known = folder / "mlflow_run_id"
        self._mlflow.set_experiment(self._experiment)
        run = self._mlflow.start_run(run_id=known.read_text() if known.is_file() else None)
        if not known.is_file():
            known.write_text(run.info.run_id)
            self._mlflow.log_params(_flat(settings.model_dump(mode="json")))

    def on_epoch(self, progress: Progress) -> None:
        """Log the newest row."""
        row = progress.history[-1]
        numbers = {name: value for name, value in row.items() if name != "epoch"}
        self._mlflow.log_metrics(numbers, step=int(row["epoch"]))

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Log the best weights and end the run."""
        if (best := folder / "best.pt").is_file():
            self._mlflow.log_artifact(str(best))
        self._mlflow.end_run()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat
