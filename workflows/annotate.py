"""`lakesight annotate s3://bucket/photos/ s3://bucket/seen --detect NAME --embed NAME`."""

import json
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import CliPositionalArg

from lakesight.errors import UserError
from lakesight.lake.manifest import Piece
from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.lake.uri_list import words_of
from lakesight.media.limits import Limits
from lakesight.models import availability, catalog
from lakesight.models.base import Frozen, Kind, ModelSpec, RuntimeName
from workflows.chosen import KINDS, TOLD, model_specs
from workflows.progress import duration, progress, say

MAX_PIXEL_BYTES = 256 << 20
"""Pixels of one data file's rows: what travels between two pools as one block."""


class Job(Frozen):
    """What every command that looks at pictures asks."""

    source: CliPositionalArg[str]
    """Folder, glob, s3:// prefix, or a .txt, .csv, .parquet or S3 Inventory list of URIs."""
    output: CliPositionalArg[str]
    """Folder or s3:// prefix; run again on the same one to resume, or to add what is new."""
    include: tuple[str, ...] = ()
    """Only keys that match this glob; may be given several times."""
    exclude: tuple[str, ...] = ()
    """Not the keys that match this glob; may be given several times."""
    set: tuple[str, ...] = ()
    """KIND.OPTION=VALUE, such as detect.score_threshold=0.3, or COLUMN.OPTION=VALUE where you named
    the column; `lakesight models show NAME` lists the options."""
    allow_licence: tuple[str, ...] = ()
    """A licence, as a refusal names it, that you have read and may use; may be given several
    times."""
    runtime: RuntimeName = "auto"
    """What executes the models; auto takes the fastest that runs here."""
    rows_per_file: int | None = Field(default=None, ge=1, le=100_000)
    """Rows in a data file, and the unit of work; chosen from the number of pictures."""
    batch_size: int | None = Field(default=None, ge=1)
    """Pictures a model sees in one call; halved by itself when memory runs out."""
    num_actors: int | None = Field(default=None, ge=1)
    """Actors that decode, and run the CPU's models; from the cluster's CPUs unless given."""
    cpus_per_actor: int | None = Field(default=None, ge=1)
    """Cores that one actor may use; from the smallest node unless given."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs to count on; give it where the cluster starts from none and scales up."""
    separate_pools: bool = False
    """Give every network actors of its own even on CPUs, as it has on GPUs."""
    max_pixels: int = Field(default=Limits().max_pixels, gt=0)
    """Larger pictures become error rows."""
    max_seconds: float = Field(default=Limits().max_seconds, gt=0)
    """Pictures that take longer to decode become error rows."""
    address: str | None = None
    """Ray cluster; RAY_ADDRESS unless given, and this machine alone without either."""
    verbose: bool = False
    """Let Ray's own logs through."""
    json_output: bool = Field(default=False, alias="json")
    """Print the run's record as JSON."""


class Annotate(Job):
    r"""Look at pictures with as many models as you like; each is fetched and decoded once.

    Examples:
      lakesight annotate photos/ seen/ --detect ssd-mobilenet-v2-coco
      lakesight annotate s3://lake/photos/ s3://lake/seen/ --detect ssd-mobilenet-v2-coco \
          --pose movenet-lightning --classify efficientnet-lite3 --embed efficientnet-lite3
      lakesight annotate 'photos/**/*.jpg' seen/ --caption hf:OWNER/REPO@REVISION
      lakesight annotate photos/ seen/ --answer ./blip2 --set 'answer.questions=Is it raining?' \
          --set 'answer.candidates=[yes, no]'
      lakesight annotate photos/ seen/ --detect cars=./my-model --detect signs=./other-model
    """

    detect: tuple[str, ...] = ()
    """Detector: a catalog name, a model folder, or COLUMN=NAME; may be given several times."""
    pose: tuple[str, ...] = ()
    """Pose model: adds keypoints to what --detect found."""
    classify: tuple[str, ...] = ()
    """Classifier."""
    embed: tuple[str, ...] = ()
    """Embedding model, for `lakesight index` and `lakesight search`."""
    caption: tuple[str, ...] = ()
    """Captioning model."""
    answer: tuple[str, ...] = ()
    """Model that answers questions: those of --set answer.questions, or of the source's rows."""
    caption_crops: tuple[str, ...] = ()
    """Captioning model for each object that --detect found."""

    def run(self) -> int:
        """Look at what is new in the source; return 0 if every key of the manifest has its row."""
        return annotate(self, {kind: getattr(self, kind) for kind in KINDS})


class Detect(Job):
    """Look at pictures with one detector.

    Example:
      lakesight detect photos/ seen/ --model ssd-mobilenet-v2-coco
    """

    model: str
    """A catalog name or a model folder."""

    def run(self) -> int:
        """See `Annotate.run`."""
        return annotate(self, {"detect": (self.model,)})


class Caption(Job):
    """Describe pictures with one captioning model.

    Example:
      lakesight caption photos/ seen/ --model hf:OWNER/REPO@REVISION
    """

    model: str
    """A model folder or a hub name at a revision."""

    def run(self) -> int:
        """See `Annotate.run`."""
        return annotate(self, {"caption": (self.model,)})


class Embed(Job):
    """Embed pictures with one model, for `lakesight index` and `lakesight search`.

    Example:
      lakesight embed photos/ seen/ --model efficientnet-lite3
    """

    model: str
    """A catalog name, a model folder or a hub name at a revision."""

    def run(self) -> int:
        """See `Annotate.run`."""
        return annotate(self, {"embed": (self.model,)})


def annotate(job: Job, names: Mapping[Kind, Sequence[str]]) -> int:
    """Run one job: plan what is new, look at what is pending, say what was written."""
    started = datetime.now(UTC)
    specs = model_specs(names, job.set, job.runtime, job.allow_licence)
    limits = Limits(max_pixels=job.max_pixels, max_seconds=job.max_seconds)
    settings = {
        "models": [spec.model_dump(mode="json") for spec in specs],
        "limits": limits.model_dump(mode="json"),
    }
    output = Output.open(job.output)
    output.compare(settings, essence=decisive)
    address = job.address or os.environ.get("RAY_ADDRESS")
    if address:
        from workflows.cluster import check_reachable

        check_reachable(address)
    ways = [availability.check(spec, here=not address) for spec in specs]
    source = Source(uri=job.source, include=job.include, exclude=job.exclude, words=words(specs))
    _check_asked(specs, job.source)

    def bind() -> None:
        output.check_writable()
        output.bind(settings, essence=decisive)

    planned = output.plan(source, partial(rows_per_file, specs, job.rows_per_file), bind)
    pieces = output.pending()
    for spec, way in zip(specs, ways, strict=True):
        say(f"{spec.stage}: {spec.card.name} {way}")
    if pieces:
        _warn_of_others(specs, lambda: str(output.read_piece(pieces[0])["uri"][0]))
    say(
        f"{planned.num_listed:,} listed, {planned.num_known:,} of them known, "
        f"{sum(piece.num_rows for piece in pieces):,} to look at"
    )
    record: dict[str, Any] = {
        "run_id": f"{started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        "started": started.isoformat(),
        "command": job.model_dump(mode="json"),
        "settings": settings,
        "versions": _versions(),
        "listed": planned.num_listed,
        "new": planned.num_new,
    }
    if pieces:
        record |= _look(job, record["run_id"], specs, limits, output, pieces, address)
        output.record_run(record["run_id"], record)
    ours = {piece.name for piece in pieces}
    return _finish(job, record, len(ours - set(output.committed())) if pieces else 0)


def words(specs: Sequence[ModelSpec]) -> tuple[str, ...]:
    """Return the columns of a list that the models of a job are told."""
    return tuple(dict.fromkeys(name for spec in specs for name in TOLD.get(spec.card.kind, ())))


def _check_asked(specs: Sequence[ModelSpec], source: str) -> None:
    """Raise UserError where nothing asks anything: each picture would become an error row."""
    silent = [
        spec for spec in specs if spec.card.kind == "answer" and not spec.options["questions"]
    ]
    if silent and "questions" not in words_of(source):
        raise UserError(
            f"nothing is asked of {silent[0].card.name}: give --set answer.questions='[…]', or as "
            f"the source a .csv or .parquet list with a column questions"
        )


def _warn_of_others(specs: Sequence[ModelSpec], look_up: Callable[[], str]) -> None:
    """Say so where models that saw nothing but generated scenes look at something else."""
    from lakesight.scenes.known import warning_of_others

    if warning := warning_of_others([spec.card for spec in specs], look_up):
        say(warning)


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an output's settings decides the values of its rows.

    Raises UserError for settings of a newer Lakesight, which may mean what this one cannot know.
    """
    try:
        specs = [ModelSpec.model_validate(spec) for spec in settings["models"]]
        limits = Limits.model_validate(settings["limits"])
    except (KeyError, ValidationError) as error:
        raise UserError(f"the output was made by another version of Lakesight: {error}") from error
    return {
        "models": {spec.stage: catalog.essence(spec) for spec in specs},
        "limits": limits.model_dump(mode="json"),
    }


def _versions() -> dict[str, str]:
    """Return the versions of what a value may depend on, as far as it is installed."""
    names = ("lakesight", "ray", "pyarrow", "openvino", "onnxruntime", "torch", "transformers")
    versions = {}
    for name in names:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def rows_per_file(specs: Sequence[ModelSpec], wanted: int | None, num_new: int) -> int:
    """Return the rows of a data file: few enough to share out, enough to be worth a file.

    And few enough for their pixels to travel, where a model has actors of its own.
    """
    if wanted:
        return wanted
    views = {spec.card.view for spec in specs if spec.card.view}
    num_bytes = sum(view.width * view.height * 3 for view in views) or 1
    return max(16, min(512, num_new // 64, MAX_PIXEL_BYTES // num_bytes))


def _look(
    job: Job,
    run_id: str,
    specs: Sequence[ModelSpec],
    limits: Limits,
    output: Output,
    pieces: Sequence[Piece],
    address: str | None,
) -> dict[str, Any]:
    """Look at the pending pieces on Ray; return what to record of it."""
    # Ray takes a second to import, which a run with nothing to do must not pay.
    from actors.pools import PoolOptions, plan_pools
    from actors.tally import PieceReport, Tallies
    from workflows.cluster import cluster
    from workflows.pipeline import run_pipeline

    start = time.perf_counter()
    total = sum(piece.num_rows for piece in pieces)
    options = PoolOptions(**job.model_dump(include=set(PoolOptions.model_fields)))
    reports: list[PieceReport] = []
    tallies = Tallies()
    with (
        cluster(address, verbose=job.verbose) as nodes,
        progress(total, counts_errors=True) as state,
    ):
        pools = plan_pools(run_id, specs, limits, nodes, options, len(pieces), here=not address)
        for report in run_pipeline(output, _shuffled(pieces, run_id), pools):
            reports.append(report)
            tallies.add_all(report.tallies)
            state.done += report.num_rows
            state.errors += sum(report.errors.values())
    ours = [report for report in reports if report.ours]
    seconds = time.perf_counter() - start
    rows = sum(report.num_rows for report in ours)
    return {
        "finished": datetime.now(UTC).isoformat(),
        "seconds": round(seconds, 3),
        "rows": rows,
        "rows_of_other_runs": total - rows,
        "errors": dict(sum((Counter(report.errors) for report in ours), Counter())),
        "images_per_s": round(rows / seconds, 2),
        "stages": {
            name: _with_rate(tally) for name, tally in tallies.model_dump()["stages"].items()
        },
        "pools": [pool.model_dump(mode="json") for pool in pools],
    }


def _shuffled(pieces: Sequence[Piece], run_id: str) -> list[Piece]:
    """Return the pieces in an order of this run's own: two runs at once then seldom meet."""
    return random.Random(run_id).sample(pieces, len(pieces))  # noqa: S311 - no secret


def _with_rate(tally: dict[str, Any]) -> dict[str, Any]:
    seconds = tally["seconds"]
    return tally | {
        "images_per_s": round(tally["rows"] / seconds, 2) if seconds else None,
        "runs_on": ", ".join(sorted(tally["runs_on"])),
    }


def _finish(job: Job, record: dict[str, Any], num_pending: int) -> int:
    """Print the summary; return the exit code."""
    if job.json_output:
        print(json.dumps(record | {"pieces_pending": num_pending}))
    else:
        _print_summary(job, record)
    if num_pending:
        print(f"{num_pending} pieces are not done: run the same command again", file=sys.stderr)
        return 1
    return 0


def _print_summary(job: Job, record: dict[str, Any]) -> None:
    if "stages" not in record:
        print(f"Nothing new: {job.output} is complete")
        return
    print(f"{'stage':<24}{'rows':>10}{'errors':>9}{'seconds':>10}{'images/s':>10}{'MB':>10}  on")
    for name, tally in record["stages"].items():
        print(
            f"{name:<24}{tally['rows']:>10,}{tally['errors']:>9,}{tally['seconds']:>10.1f}"
            f"{tally['images_per_s'] or 0:>10.1f}{tally['bytes'] / 1e6:>10.1f}  {tally['runs_on']}"
        )
    errors = sum(record["errors"].values())
    print(
        f"Wrote {record['rows']:,} rows ({errors:,} with an error) to {job.output} in "
        f"{duration(record['seconds'])}, {record['images_per_s']} images/s"
    )
