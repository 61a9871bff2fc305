"""Words to judge, real outputs of given rows, and the figures of one; for several tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakesight.evaluation import Evaluation, Texts, open_labels
from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.metrics import LanguageResult
from lakesight.schemas import output_schema

BROKEN = {"stage": "decode", "type": "unsupported format", "message": "not a picture"}


def data(scenes: Path, task: str, **how: Any) -> Texts:
    """Open what is said of scenes."""
    opened = open_labels(str(scenes), "val", task, **how)
    assert isinstance(opened, Texts)
    return opened


def only(result: Evaluation) -> LanguageResult:
    """Return the figures of an evaluation of words."""
    (one,) = result.results.values()
    assert isinstance(one, LanguageResult)
    return one


def write_rows(
    source: Path,
    output: Path,
    fields: Sequence[pa.Field],
    rows: Mapping[str, Mapping[str, Any] | None],
    models: Sequence[Any] = (),
) -> str:
    """Commit a row for every picture of a folder, by its name; None is one that broke."""
    schema = output_schema(fields)
    out = Output.open(str(output))
    out.bind({"models": list(models)}, schema)
    out.plan(Source(uri=str(source), include=("*.jpg",)), 4)
    for piece in out.pending():
        keys = out.read_piece(piece).select(["id", "uri", "etag"]).to_pylist()
        table = [_row(key, rows[key["uri"].rpartition("/")[2]], schema.names) for key in keys]
        out.commit(piece, pa.Table.from_pylist(table, schema=schema))
    return str(output)


def _row(key: Mapping[str, str], own: Mapping[str, Any] | None, names: list[str]) -> dict[str, Any]:
    size = {"width": 64, "height": 64, "format": "jpeg", "status": "ok"}
    told = {"status": "error", "error": BROKEN} if own is None else size | dict(own)
    whole = {**key, "run_id": "run", **told}
    return {name: whole.get(name) for name in names}
