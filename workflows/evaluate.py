"""`lakesight evaluate MODEL DATA`: how good a model is, or an output, on labelled pictures."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import (
    Evaluation,
    Texts,
    add_pictures,
    columns_of,
    evaluate_output,
    field_of,
    judge_of,
    judging_of,
    labelled_shares,
    noted,
    open_judge,
    open_judged,
    open_labels,
    task_of,
)
from lakesight.lake.output import Output
from lakesight.lake.reader import Lake
from lakesight.metrics import Bootstrap
from lakesight.metrics.language.java import JavaMetric
from lakesight.models import catalog
from lakesight.models.base import Frozen, Model, RuntimeName
from lakesight.models.look import BATCH
from lakesight.training.blip2.texts import SceneCaptions
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.sources import Split
from workflows.chosen import options_for, split_setting
from workflows.indexed import model_of
from workflows.progress import progress

if TYPE_CHECKING:
    from workflows.judges import Workers

OF_A_MODEL = ("set", "runtime", "allow_licence", "batch_size", "rerank")
"""Settings that mean nothing where an output is judged."""


class Evaluate(Frozen):
    r"""Judge a model, or what an output holds: objects, classes, captions, answers, search.

    Nothing is written unless --plots says where. docs/evaluation.md and docs/language-metrics.md
    tell what the figures mean.

    Examples:
      lakesight evaluate shapes/ scenes/
      lakesight evaluate cars/ instances_val.json --images photos/ --bootstrap --slice camera
      lakesight evaluate cars/ data.yaml --split test --set precision=int8 --json > int8.json
      lakesight evaluate s3://lake/seen instances.json --images photos/ --column detections
      lakesight evaluate s3://lake/seen captions_val.json --column caption --bootstrap
      lakesight evaluate s3://lake/seen questions.json --task answer --slice kind
      lakesight evaluate clip/ captions_val.json --images photos/ --task retrieve
      lakesight evaluate s3://lake/seen captions_val.json --num-workers 16 --address auto
    """

    model: CliPositionalArg[str]
    """Model folder or catalog name; or an output of `lakesight annotate`, whose rows are judged."""
    data: CliPositionalArg[str]
    """Labelled pictures: scenes, data.yaml, COCO .json, class folders, or an output; for captions
    and answers scenes, COCO captions, or a .json list of images with a caption, or question and
    answer."""
    task: str | None = None
    """What is compared: detect, segment, pose, obb, classify, caption, answer or retrieve; what the
    model gives unless given."""
    split: Split = "val"
    """Which part of the data; a COCO .json is taken whole."""
    images: str | None = None
    """Folder of the pictures of a .json; its own folder unless given."""
    labels: LakeLabels = LakeLabels()
    multi_label: bool = False
    """Classify only: take all classes of a picture of scenes or of an output, not just one."""
    captions: SceneCaptions = "captions"
    """Of scenes, what a caption is compared with, or what searches: each of the short captions, the
    one description of everything, or all of them."""
    extra: tuple[JavaMetric, ...] = ()
    """Of captions, a further figure: meteor or spice, which need Java; may be given twice."""
    rerank: int | None = Field(default=None, ge=1, le=10_000)
    """Of a search by a model that matches (BLIP, BLIP-2), look at so many of the best of each
    query again, picture and text together (ITM); LAVIS takes 128."""
    column: str | None = None
    """Of an output, the column that is judged: the first of detections, classes, caption, answers
    and embedding that it has, unless given."""
    text_model: str | None = None
    """Of an output, what embeds the captions that search its embeddings: the model that made them
    unless given."""
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
    """Also judge the pictures of each kind apart: by folder, or by a field of COCO's images; of
    answers also by kind, which is that of the question; may be given several times."""
    num_workers: int | None = Field(default=None, ge=1)
    """Judge in so many processes on Ray, each a share of the pictures, or of the output's files; in
    this process alone unless given. The figures are the same."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs that the workers share; those of the cluster unless given."""
    address: str | None = None
    """Ray cluster of the workers; RAY_ADDRESS unless given, and this machine alone without either.
    """
    verbose: bool = False
    """Let Ray's own logs through."""
    plots: Path | None = None
    """Folder to write plots into: curves, confusion, samples."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object."""

    def run(self) -> int:
        """Print the figures; return 0."""
        if self.plots and self.plots.is_file():
            raise UserError(f"expected a folder for the plots, got the file {self.plots}")
        self._check_workers()
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
        if self.plots and isinstance(data, Pictures):  # now: what cannot be drawn costs no figure
            from lakesight.plots import draw_evaluation, draw_samples  # torch and matplotlib: slow

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
            if self.text_model:
                raise UserError(f"{self.model} is no output, and --text-model is for one")
            return None
        of_no_use = set(OF_A_MODEL) - ({"allow_licence"} if self.text_model else set())
        if unused := [name for name in OF_A_MODEL if name in of_no_use & self.model_fields_set]:
            flags = " and ".join("--" + name.replace("_", "-") for name in unused)
            raise UserError(
                f"{self.model} is judged by the rows that it holds, and {flags} is for a model: "
                "leave it out"
            )
        return lakesight.open(self.model)

    def _judge_rows(self, lake: Lake) -> tuple[None, Pictures | Texts, Evaluation]:
        column, task = self._column(lake)
        data = open_labels(self.data, self.split, task, local=False, **self._how)
        self._check_plots(data)
        searched = task_of(field_of(lake, column)) == task == "retrieve"
        encoder = self._encoder(lake, column) if searched else None
        if self.num_workers is None:
            draws, slices = self._draws, self.slice
            return None, data, evaluate_output(lake, data, column, draws, slices, encoder=encoder)
        from workflows.judges import SHARES_A_WORKER, judge_rows  # Ray takes a second to import

        judge = judge_of(data, field_of(lake, column), encoder)
        shares, notes = labelled_shares(lake, data, self.num_workers * SHARES_A_WORKER)
        with progress(sum(len(share.pairs) for share in shares)) as state:
            judge_rows(judge, shares, column, self._workers, state.tell)
        return None, data, noted(judge.result(self._draws, self.slice), notes)

    def _column(self, lake: Lake) -> tuple[str, str]:
        """Return what of the output is judged, and what it is compared by."""
        names = columns_of(self.task)
        known = [name for name in names if name in lake.dataset().schema.names]
        column = self.column or next(iter(known), names[0])
        return column, self.task or task_of(field_of(lake, column))

    def _encoder(self, lake: Lake, column: str) -> Model:
        """Return what embeds texts into the space of a column."""
        if self.text_model:
            licences = self.allow_licence
            return catalog.build(catalog.spec(self.text_model, "embed", None, "auto", licences))
        made_by = model_of(lake, column)
        if made_by is None:
            raise UserError(
                f"{self.model} does not say which model made {column!r}: name it as --text-model"
            )
        return catalog.build(made_by)

    def _judge_model(self) -> tuple[Model, Pictures | Texts, Evaluation]:
        card = catalog.resolve(self.model, judging_of(self.task).kind if self.task else None)
        options = options_for(card, dict(map(split_setting, self.set)))
        spec = catalog.spec_of(card, options, self.runtime, self.allow_licence)
        spec, model, data = open_judged(
            spec, options, self.data, self.split, self.task, **self._how
        )
        self._check_plots(data)
        judge = open_judge(model, data)
        with progress(len(data)) as state:
            if self.num_workers is None:
                add_pictures(judge, model, data, self.batch_size, state.tell)
            else:
                from workflows.judges import judge_pictures  # Ray takes a second to import

                judge_pictures(judge, spec, data, self.batch_size, self._workers, state.tell)
        return model, data, judge.result(self._draws, self.slice)

    def _check_workers(self) -> None:
        of_workers = ("gpus", "address", "verbose")
        if self.num_workers is None:
            for name in self.model_fields_set.intersection(of_workers):
                raise UserError(f"--{name} is for workers on Ray: give --num-workers, too")

    @property
    def _workers(self) -> "Workers":
        from workflows.judges import Workers

        return Workers(
            num_workers=self.num_workers or 1,
            gpus=self.gpus,
            address=self.address or os.environ.get("RAY_ADDRESS"),
            verbose=self.verbose,
        )

    def _check_plots(self, data: Pictures | Texts) -> None:
        if self.plots and isinstance(data, Texts):
            raise UserError(
                f"--plots draws what was found on pictures, and the task {data.task} is about "
                "words: leave it out"
            )

    @property
    def _how(self) -> dict[str, Any]:
        """Return how the data is to be opened."""
        names = ("images", "multi_label", "labels", "captions", "extra", "rerank")
        return {name: getattr(self, name) for name in names}

    @property
    def _draws(self) -> Bootstrap | None:
        return Bootstrap() if self.bootstrap else None
