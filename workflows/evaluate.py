"""`lakesight evaluate MODEL DATA`: how good a model is, or an output, on labelled pictures."""

import json
import sys
from pathlib import Path
from typing import Any

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
from lakesight.models.base import Frozen, Model, RuntimeName
from lakesight.models.look import BATCH
from lakesight.plots import draw_evaluation, draw_samples
from lakesight.training.yolo.datasets import Pictures, Task
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import Split, open_data
from workflows.chosen import option
from workflows.progress import progress

OF_A_MODEL = ("set", "runtime", "allow_licence", "batch_size")
"""Settings that mean nothing where an output is judged."""


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
        if self.plots and self.plots.is_file():
            raise UserError(f"expected a folder for the plots, got the file {self.plots}")
        lake = self._lake()
        model, data, result = self._judge_rows(lake) if lake else self._judge_model()
        for note in result.notes:
            print(f"note: {note}", file=sys.stderr)
        if self.json_output:
            told = {"model": self.model, "data": self.data, "split": self.split}
            told["task"] = data.task
            print(json.dumps(told | result.to_dict()))
        else:
            print(result.table())
        if self.plots:  # now: what cannot be drawn costs no figure
            self.plots.mkdir(parents=True, exist_ok=True)
            draw_evaluation(result.results, self.plots)
            if model is not None:
                draw_samples(model, data, self.plots)
            print(f"Wrote plots to {self.plots}", file=sys.stderr)
        return 0

    def _lake(self) -> Lake | None:
        """Return the output that is judged; None where a model is."""
        is_output = self.model not in catalog.built_in() and Output.open(self.model).is_bound()
        if self.column is None and not is_output:
            return None
        if unused := [name for name in OF_A_MODEL if name in self.model_fields_set]:
            flags = " and ".join("--" + name.replace("_", "-") for name in unused)
            raise UserError(
                f"{self.model} is judged by the rows that it holds, and {flags} is for a model: "
                "leave it out"
            )
        return lakesight.open(self.model)

    def _judge_rows(self, lake: Lake) -> tuple[None, Pictures, Evaluation]:
        names = ("detections", "classes") if self.task != "classify" else ("classes",)
        known = [name for name in names if name in lake.dataset().schema.names]
        column = self.column or next(iter(known), names[0])
        task = self.task or task_of(field_of(lake, column))
        data = open_data(self.data, self.split, task, **self._how)
        return None, data, evaluate_output(lake, data, column, self._draws, self.slice)

    def _judge_model(self) -> tuple[Model, Pictures, Evaluation]:
        options = dict(map(option, self.set))
        spec = catalog.spec(self.model, None, options, self.runtime, self.allow_licence)
        model = catalog.build(to_judge(spec, **options))
        data = data_for(model, self.data, self.split, self.task, **self._how)
        with progress(len(data)) as state:

            def told(done: int) -> None:
                state.done = done

            result = evaluate(
                model, data, self._draws, self.slice, batch_size=self.batch_size, told=told
            )
        return model, data, result

    @property
    def _how(self) -> dict[str, Any]:
        """Return how the data is to be opened."""
        return {"images": self.images, "multi_label": self.multi_label, "labels": self.labels}

    @property
    def _draws(self) -> Bootstrap | None:
        return Bootstrap() if self.bootstrap else None
