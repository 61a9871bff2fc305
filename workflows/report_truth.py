"""How right an output is: the figures of its columns beside what is known of the pictures."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lakesight.errors import UserError
from lakesight.evaluation import columns_of, evaluate_output, field_of, open_labels, task_of
from lakesight.lake.reader import Lake
from lakesight.models import catalog
from lakesight.training.blip2.texts import SceneCaptions
from workflows.indexed import model_of


@dataclass(frozen=True)
class Judged:
    """One column, and what `lakesight evaluate` says of it."""

    column: str
    task: str
    command: str
    """What prints all of the figures."""
    figures: Sequence[tuple[str, str]]
    notes: Sequence[str]


@dataclass(frozen=True)
class Truth:
    """What is known, and every column that it says something of."""

    data: str
    columns: Sequence[Judged]
    notes: Sequence[str]
    """Why other columns are not judged."""


def truth(lake: Lake, data: str, captions: SceneCaptions) -> Truth:
    """Judge every column of an output that the data, as `lakesight evaluate` takes them, speak of.

    `captions` are what captions of scenes are held against; searched they are by descriptions.
    Raises UserError where they speak of none, with what the first column lacks.
    """
    judged: list[Judged] = []
    refused: dict[str, UserError] = {}
    there = lake.dataset().schema.names
    for column in (name for name in columns_of() if name in there):
        try:
            judged.append(_judged(lake, data, column, captions))
        except UserError as error:  # boxes say nothing of captions
            refused[column] = error
    if not judged:
        nothing = UserError(f"{lake.output.uri} has no column to judge")
        raise next(iter(refused.values()), nothing)
    return Truth(data, judged, [f"{name} is not judged: {why}" for name, why in refused.items()])


def _judged(lake: Lake, data: str, column: str, captions: SceneCaptions) -> Judged:
    task = task_of(field_of(lake, column))
    searched = task == "retrieve"
    # many scenes have the same short captions: only a description tells one from all others
    texts: dict[str, SceneCaptions] = {"retrieve": "description", "caption": captions}
    compared = texts.get(task, "captions")
    labels = open_labels(data, "val", task, captions=compared, local=False)
    made_by = model_of(lake, column) if searched else None
    encoder = catalog.build(made_by) if made_by else None
    found = evaluate_output(lake, labels, column, encoder=encoder)
    words = ["lakesight", "evaluate", lake.output.uri, data, "--column", column]
    words += ["--captions", compared] if compared != "captions" else []
    figures = [(name, f"{value:.3f}") for name, value in found.figures().items()]
    return Judged(column, task, shlex.join(words), figures[:-1], found.notes)  # the last: fitness
