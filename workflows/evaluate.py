"""`lakesight evaluate MODEL DATA`: how good a model is, or an output, on labelled pictures."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import (
    Evaluation,
    data_for,
    evaluate,
    evaluate_output,
    field_of,
    task_of,
    to_judge,
)
from lakesight.lake.output import Output
from lakesight.lake.reader import Lake
from lakesight.metrics import Bootstrap
from lakesight.models import catalog
from lakesight.models.base import Frozen, RuntimeName
from lakesight.models.look import BATCH
from lakesight.plots import draw_evaluation, draw_samples
from lakesight.training.datasets import Task
from lakesight.training.lake_truth import LakeLabels
from lakesight.training.sources import Split, open_data
from workflows.progress import progress


class Evaluate(Frozen):
    r"""Judge a model, or what an output holds, by labelled pictures: mAP, accuracy, confusion.

    Nothing is written unless --plots says where. docs/evaluation.md tells what the figures mean.

    Examples:
      lakesight evaluate shapes/ scenes/
      lakesight evaluate cars/ instances_val.json --images photos/ --bootstrap --slice camera
      lakesight evaluate cars/ data.yaml --split test --set precision=int8 --json > int8.json
      lakesight evaluate s3://lake/seen instances.json --images photos/ --column detections
    """

    model: CliPositionalArg[str]
    """Model folder or catalog name; or an output of `lakesight annotate`, whose rows are judged."""
    data: CliPositionalArg[str]
    """Labelled pictures: scenes, data.yaml, COCO .json, class folders, or an output."""
    task: Task | None = None
    """What is compared; what the model gives unless given."""
    split: Split = "val"
    """Which part of the data; a COCO .json is taken whole."""
    images: str | None = None
    """Folder of the pictures of a COCO .json; its own folder unless given."""
    labels: LakeLabels = LakeLabels()
    multi_label: bool = False
    """Classify only: take all classes of a picture of scenes or of an output, not just one."""
    column: str | None = None
    """Of an output, the column that is judged: detections or classes unless given."""
    set: tuple[str, ...] = ()
    """OPTION=VALUE of the model, such as precision=int8; may be given several times."""
    runtime: RuntimeName = "auto"
    """What executes the model; auto takes the fastest that runs here."""
    allow_licence: tuple[str, ...] = ()
    """A licence, as a refusal names it, that you have read and may use; may be given several
    times."""
    batch_size: int = Field(default=BATCH, ge=1)
    """Pictures that the model sees in one call."""
    bootstrap: bool = False
    """Add 95 % intervals, from 1,000 draws of the pictures."""
    slice: tuple[str, ...] = ()
    """Also judge the pictures of each kind apart: by folder, or by a field of COCO's images; may be
    given several times."""
    plots: Path | None = None
    """Folder to write plots into: curves, confusion, samples."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object."""

    def run(self) -> int:
        """Print the figures; return 0."""
        lake = self._lake()
        result, task = self._judge_rows(lake) if lake else self._judge_model()
        for note in result.notes:
            print(f"note: {note}", file=sys.stderr)
        if self.json_output:
            told = {"model": self.model, "data": self.data, "split": self.split, "task": task}
            print(json.dumps(told | result.to_dict()))
        else:
            print(result.table())
        if self.plots:
            print(f"Wrote plots to {self.plots}", file=sys.stderr)
        return 0

    def _lake(self) -> Lake | None:
        """Return the output that is judged; None where a model is."""
        is_output = self.model not in catalog.CARDS and Output.open(self.model).is_bound()
        if self.column is None and not is_output:
            return None
        if self.set or self.allow_licence:
            raise UserError(
                f"{self.model} is judged by the rows that it holds: --set and --allow-licence are "
                "for a model"
            )
        return lakesight.open(self.model)

    def _judge_rows(self, lake: Lake) -> tuple[Evaluation, Task]:
        names = ("detections", "classes") if self.task != "classify" else ("classes",)
        known = [name for name in names if name in lake.dataset().schema.names]
        column = self.column or next(iter(known), names[0])
        task = self.task or task_of(field_of(lake, column))
        data = open_data(self.data, self.split, task, **self._how)
        result = evaluate_output(lake, data, column, self._draws, self.slice)
        self._draw(result)
        return result, task

    def _judge_model(self) -> tuple[Evaluation, Task]:
        spec = catalog.spec(self.model, None, _options(self.set), self.runtime, self.allow_licence)
        model = catalog.build(to_judge(spec, **_options(self.set)))
        data = data_for(model, self.data, self.split, self.task, **self._how)
        with progress(len(data)) as state:

            def told(done: int) -> None:
                state.done = done

            result = evaluate(
                model, data, self._draws, self.slice, batch_size=self.batch_size, told=told
            )
        self._draw(result)
        if self.plots and data.task != "classify":
            draw_samples(model, data, self.plots)
        return result, data.task

    @property
    def _how(self) -> dict[str, Any]:
        """Return how the data is to be opened."""
        return {"images": self.images, "multi_label": self.multi_label, "labels": self.labels}

    @property
    def _draws(self) -> Bootstrap | None:
        return Bootstrap() if self.bootstrap else None

    def _draw(self, result: Evaluation) -> None:
        """Write the plots of a result, if any were asked for."""
        if self.plots:
            self.plots.mkdir(parents=True, exist_ok=True)
            draw_evaluation(result.results, self.plots)


def _options(settings: Sequence[str]) -> dict[str, Any]:
    """Return `OPTION=VALUE` as options; values are read as YAML."""
    options = {}
    for setting in settings:
        name, has_value, value = setting.partition("=")
        if not has_value:
            raise UserError(f"--set wants OPTION=VALUE, got {setting!r}")
        options[name] = yaml.safe_load(value)
    return options
