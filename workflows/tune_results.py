"""What a tuning leaves: the table of its trials, a drawing, the best settings and their model."""

import io
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from lakesight.errors import UserError
from lakesight.files import write_whole
from lakesight.plots import save
from lakesight.plots.trials import trials as drawing
from lakesight.training.loop import SETTINGS, STATE
from lakesight.training.search import Space, values_of, with_values
from lakesight.training.trials import Trial, Trials, ranked
from lakesight.training.yolo.data import Data
from lakesight.training.yolo.finishing import finish
from lakesight.training.yolo.job import TrainJob
from workflows.tables import as_json, write_aligned, write_csv

TABLE, DRAWING = "trials.csv", "trials.png"
BEST_SETTINGS = "best.yaml"
BEST_MODEL = "best"
OF_THE_DATA = {"data", "val", "images", "val_images", "labels", "name"}
"""Settings that say which pictures and which model, not how to train."""
MAX_SHOWN = 20


def write(trials: Trials, job: TrainJob, space: Space, data: Data) -> None:
    """Write all files; UserError where no trial gave a model."""
    rows = [_row(one) for one in trials.over()]
    names = ["trial", "status", "fitness", "epochs", *space, "message"]
    table = io.StringIO()
    write_csv(rows, names, table)
    write_whole(trials.folder / TABLE, table.getvalue())
    save(drawing(trials.over(), space), trials.folder / DRAWING)
    best = trials.best()
    if best is None:
        reasons = [one.message for one in trials.over()] or ["none is over, run it again"]
        raise UserError(f"no trial gave a model, the first for this: {reasons[0]}")
    best_job = with_values(job, best.values)
    settings = yaml.safe_dump(
        best_job.model_dump(mode="json", exclude=OF_THE_DATA), sort_keys=False
    )
    head = f"# lakesight tune: trial {best.number}, fitness {best.fitness:.4f}\n"
    write_whole(trials.folder / BEST_SETTINGS, head + settings)
    _write_model(trials, best, best_job, data)


def show(trials: Trials, job: TrainJob, space: Space, *, to_json: bool) -> None:
    """Print the trials and the best settings."""
    best = trials.best()
    assert best is not None
    base = values_of(job, list(space))
    if to_json:
        told: dict[str, Any] = {
            "model": str(trials.folder / BEST_MODEL),
            "best": best.number,
            "fitness": best.fitness,
            "values": best.values,
            "trials": [one.model_dump(mode="json") for one in trials.over()],
        }
        print(as_json(told))
        return
    rows = [_row(one) for one in ranked(trials.over())[:MAX_SHOWN]]
    write_aligned(rows, ["trial", "status", "fitness", "epochs", "message"], sys.stdout)
    print()
    changes = [
        {"hyperparameter": name, "first": base[name], "best": best.values[name]} for name in space
    ]
    write_aligned(changes, ["hyperparameter", "first", "best"], sys.stdout)
    print()


def why_it_stopped(
    lost: Sequence[Trial], errors: Sequence[Exception], num_times: int
) -> str | None:
    """Return a sentence about trials that ended by an error, so many times; None for none."""
    if not lost:
        return None
    last = str(errors[-1]).strip().splitlines()[-1] if errors else "its process was lost"
    return (
        f"trial {lost[0].number} ended {num_times} times, last with: {last}. What is done stays: "
        "mend that, and run it again"
    )


def _row(trial: Trial) -> dict[str, Any]:
    told = {"trial": trial.number, "status": trial.status, "fitness": trial.fitness}
    return {**told, "epochs": len(trial.curve), **trial.values, "message": trial.message}


def _write_model(trials: Trials, best: Trial, job: TrainJob, data: Data) -> None:
    """Write the best trial as a model folder, unless it is there."""
    there, place = trials.folder / BEST_MODEL, trials.place(best.number)
    settings = place / STATE / SETTINGS
    known = there / STATE / SETTINGS
    if known.is_file() and known.read_bytes() == settings.read_bytes():
        return
    draft = there.with_suffix(".part")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(place, draft)
    finish(job, data, draft, str(trials.folder.resolve()))
    shutil.rmtree(there, ignore_errors=True)
    draft.replace(there)
