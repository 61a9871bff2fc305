"""What is known to be impossible, or past telling, before anything is converted."""

from collections.abc import Sequence

from lakesight.errors import UserError
from lakesight.exporting.formats import Wanted
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.pictures import Samples
from lakesight.exporting.source import check_yolo
from lakesight.models.base import ModelCard


def check_tasks(card: ModelCard, wanted: Sequence[Wanted]) -> None:
    """Raise UserError for a card of another family, and a format that cannot hold its task."""
    task = check_yolo(card).task
    for one in wanted:
        if task not in one.format.tasks:
            raise UserError(
                f"{one.format.name} cannot hold a network of the task {task}, only "
                f"{', '.join(one.format.tasks)}"
            )
        if one.precision not in one.format.precisions:
            raise UserError(
                f"{one.name} is for language models: a YOLO is written in "
                f"{', '.join(one.format.precisions)}"
            )


def _lossy(wanted: Sequence[Wanted], options: ExportOptions) -> list[Wanted]:
    """Return what may lose something, where it matters how much."""
    return [one for one in wanted if one.precision != "f32" and options.max_map_loss < 1]


def check_runs(wanted: Sequence[Wanted], options: ExportOptions) -> None:
    """Raise UserError for what may lose something, and runs nowhere that could tell how much."""
    for one in _lossy(wanted, options):
        if not one.format.runs:
            raise UserError(
                f"what {one.name} loses cannot be told, for nothing that Lakesight knows runs it: "
                f"take it as it is with --max-map-loss 1, or export to {one.format.name}"
            )


def check_labels(samples: Samples, wanted: Sequence[Wanted], options: ExportOptions) -> None:
    """Raise UserError for what may lose something, where no labels tell how much."""
    lossy = _lossy(wanted, options)
    if lossy and samples.labelled is None:
        raise UserError(
            f"what {lossy[0].name} loses cannot be told without labels: name labelled pictures "
            "with --pictures, or take it as it is with --max-map-loss 1"
        )
