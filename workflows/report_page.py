"""What stands in a report: gathered from an output, ready to be laid out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from lakesight.lake.reader import Lake
from lakesight.models.availability import origin
from lakesight.models.base import ModelSpec
from workflows.report_counts import (
    MAX_ERRORS,
    MAX_LABELS,
    Columns,
    Count,
    ErrorCount,
    Totals,
    classes,
    errors,
    objects,
    sample,
    totals,
)
from workflows.report_pictures import Picture, pictures
from workflows.report_truth import Truth

Facts = Sequence[tuple[str, str]]

TALLIES = {
    "rows": "Rows",
    "errors": "Errors",
    "seconds": "Seconds",
    "images_per_s": "Rows/s",
    "bytes": "MB read",
}
"""What a stage of a run record may count, and the heading of its column."""


@dataclass(frozen=True)
class Tile:
    """One number at the top."""

    name: str
    value: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Throughput:
    """The stages of a run, as a table."""

    note: str
    headings: Sequence[str]
    stages: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class ModelFacts:
    """One model card."""

    name: str
    provenance: str
    facts: Facts


@dataclass(frozen=True)
class Page:
    """Everything that the template lays out."""

    output: str
    tiles: Sequence[Tile]
    truth: Truth | None
    objects: Sequence[Count]
    num_more_objects: int
    classes: Sequence[Count]
    num_more_classes: int
    pictures: Sequence[Picture]
    sampled: str
    errors: Sequence[ErrorCount]
    num_more_errors: int
    throughput: Throughput | None
    models: Sequence[ModelFacts]
    provenance: Facts


def gather(
    lake: Lake, sql: duckdb.DuckDBPyConnection, num_pictures: int, truth: Truth | None = None
) -> Page:
    """Ask an output for everything that its report shows."""
    models = [ModelSpec.model_validate(spec) for spec in lake.settings.get("models", ())]
    columns = Columns.of(lake.dataset().schema, models)
    counted, found = totals(sql, columns), objects(sql, columns)
    best, failed = classes(sql, columns), errors(sql)
    shown = pictures(sample(sql, columns, num_pictures), columns, lake.settings.get("limits", {}))
    runs = [run for run in lake.runs() if run.get("stages")]
    num_ok = counted.rows - counted.errors
    return Page(
        output=lake.output.uri,
        tiles=list(_tiles(counted, columns, found, runs)),
        truth=truth,
        objects=found[:MAX_LABELS],
        num_more_objects=max(0, len(found) - MAX_LABELS),
        classes=best[:MAX_LABELS],
        num_more_classes=max(0, len(best) - MAX_LABELS),
        pictures=shown,
        sampled=_sampled(len(shown), num_ok),
        errors=failed[:MAX_ERRORS],
        num_more_errors=max(0, len(failed) - MAX_ERRORS),
        throughput=_throughput(runs),
        models=[_model(spec) for spec in models],
        provenance=list(_provenance(lake, counted, runs)),
    )


def _tiles(
    counted: Totals, columns: Columns, found: Sequence[Count], runs: Sequence[Mapping[str, Any]]
) -> Iterator[Tile]:
    yield Tile("rows", f"{counted.rows:,}")
    yield Tile("errors", f"{counted.errors:,}", bad=counted.errors > 0)
    if columns.detections:
        num_objects = sum(count.count for count in found)
        yield Tile("objects", f"{num_objects:,}", f"of {len(found):,} labels")
    for names, what in (
        (columns.classes, "classified"),
        (columns.texts + columns.captions, "captioned"),
        (columns.answers, "answered"),
    ):
        if names:
            yield Tile(what, f"{max(counted.by_column[name] for name in names):,}")
    for name in columns.vectors:
        yield Tile("embeddings", f"{counted.by_column[name]:,}", f"in {name}")
    if runs and (rate := _largest(runs).get("images_per_s")):
        yield Tile("pictures/s", f"{rate:,}", "in the largest run" if len(runs) > 1 else "")


def _sampled(num_shown: int, num_ok: int) -> str:
    if num_shown >= num_ok:
        return f"All {num_ok:,}. Click on one to see it large."
    return f"{num_shown:,} of {num_ok:,}, drawn by their ids. Click on one to see it large."


def _throughput(runs: Sequence[Mapping[str, Any]]) -> Throughput | None:
    """Return the stages of the largest run; whatever it has written down of them."""
    if not runs:
        return None
    run = _largest(runs)
    stages: Mapping[str, Mapping[str, Any]] = run["stages"]
    keys = [key for key in TALLIES if any(key in tally for tally in stages.values())]
    told = {"rows": "{:,} rows", "seconds": "{:,.1f} s", "images_per_s": "{:,} pictures/s"}
    sums = [form.format(run[key]) for key, form in told.items() if run.get(key) is not None]
    which = f"The largest of {len(runs)} runs" if len(runs) > 1 else "One run"
    return Throughput(
        note=f"{which}, {run.get('run_id', 'unnamed')}: {', '.join(sums)}. "
        "Seconds of a stage are summed over its actors, which work side by side.",
        headings=[TALLIES[key] for key in keys],
        stages=[
            (name, [_tally(key, tally.get(key)) for key in keys]) for name, tally in stages.items()
        ],
    )


def _largest(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the run with most rows: start-up weighs least in its rate."""
    return max(runs, key=lambda run: run.get("rows") or 0)


def _tally(key: str, value: float | None) -> str:
    if value is None or (key == "bytes" and not value):
        return ""
    if key == "bytes":
        return f"{value / 1e6:,.1f}"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _model(spec: ModelSpec) -> ModelFacts:
    card = spec.card
    licences = card.licences.model_dump(exclude_none=True)
    facts = {
        "kind": card.kind,
        "column": spec.column or "",
        "source": origin(card.source),
        "licence": ", ".join(f"{text} ({what})" for what, text in licences.items()),
        "sha256": ", ".join(f"{name} {digest[:12]}…" for name, digest in card.sha256.items()),
        "runtime": spec.runtime,
        "options": ", ".join(f"{name}={value}" for name, value in spec.options.items()),
    }
    return ModelFacts(card.name, card.provenance, [item for item in facts.items() if item[1]])


def _provenance(
    lake: Lake, counted: Totals, runs: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    generations = lake.output.generations()
    yield "output", lake.output.uri
    for uri in dict.fromkeys(each.source.uri for each in generations):
        yield "source", uri
    yield "listed", f"{sum(each.num_keys for each in generations):,} objects"
    yield "committed", f"{counted.rows:,} rows in {len(lake.files()):,} files"
    for run in runs:
        yield "run", f"{run.get('run_id', 'unnamed')}, {run.get('rows') or 0:,} rows"
    for name, number in (runs[-1].get("versions") or {}).items() if runs else ():
        yield name, str(number)
    for name, value in (lake.settings.get("limits") or {}).items():
        yield name.replace("_", " "), f"{value:,}"
