"""Judging what a committed output holds: its rows beside the labels of the same pictures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.judging import Judge
from lakesight.evaluation.result import Evaluation
from lakesight.evaluation.tasks import judge_of
from lakesight.evaluation.texts import Texts
from lakesight.lake.reader import Lake
from lakesight.lake.uris import canonical, is_s3
from lakesight.metrics import Bootstrap
from lakesight.metrics.pictures import some
from lakesight.training.yolo.datasets import Labelled, Pictures


class Named(Protocol):
    """What of a picture tells which row is of it."""

    @property
    def path(self) -> Path:
        """The file, or a copy of it."""
        ...

    @property
    def uri(self) -> str | None:
        """Where the picture is from, where that is not `path`."""
        ...


P = TypeVar("P", bound=Named)


def evaluate_output(
    lake: Lake,
    dataset: Pictures | Texts,
    column: str,
    bootstrap: Bootstrap | None = None,
    slices: Sequence[str] = (),
    *,
    encoder: object | None = None,
) -> Evaluation:
    """Compare a column of an output's latest rows with the labels of the same pictures.

    Rows and labels belong together by uri where any has the same, else by file name. What only one
    side has is left out, and the notes say so; a picture that the output could not look at counts
    as one on which nothing was found. `encoder` embeds the captions that embeddings are searched
    by: see `judge_of`. Raises UserError where nothing belongs together, a name is there twice, or a
    picture that was looked at has not the size of its labels.
    """
    judge = judge_of(dataset, field_of(lake, column), encoder)
    (share,), notes = labelled_shares(lake, dataset)
    add_rows(judge, share, column)
    return noted(judge.result(bootstrap, slices), notes)


@dataclass(frozen=True)
class Share:
    """Some of an output's data files, and the labels of their rows."""

    lake: Lake
    pairs: Mapping[str, Named]
    """By the uri of the row."""


def labelled_shares(
    lake: Lake, dataset: Pictures | Texts, num_shares: int = 1
) -> tuple[list[Share], tuple[str, ...]]:
    """Return an output in at most so many parts, in its order, and notes of what only one side has.

    Raises UserError as `evaluate_output`.
    """
    parts = lake.parts(num_shares)
    uris = [
        [uri for batch in part.latest(["uri", "etag"]) for uri in batch["uri"].to_pylist()]
        for part in parts
    ]
    every = [uri for some in uris for uri in some]
    pairs = paired(dataset.pictures, every)
    shares = [
        Share(part, {uri: pairs[uri] for uri in some if uri in pairs})
        for part, some in zip(parts, uris, strict=True)
    ]
    return shares, _left_out(dataset.pictures, every, pairs)


def add_rows(judge: Judge[Any], share: Share, column: str) -> None:
    """Let a judge see a column of the rows of a share."""
    for batch in share.lake.latest(["uri", "etag", "width", "height", column]):
        uris = batch["uri"].to_pylist()
        found = [number for number, uri in enumerate(uris) if uri in share.pairs]
        rows = batch.take(pa.array(found, pa.int64()))
        pictures = [share.pairs[uri] for uri in rows["uri"].to_pylist()]
        _check_sizes(pictures, rows)
        judge.update(pictures, rows[column])


def noted(result: Evaluation, notes: tuple[str, ...]) -> Evaluation:
    """Return an evaluation with notes before its own."""
    return replace(result, notes=(*notes, *result.notes))


def field_of(lake: Lake, column: str) -> pa.Field:
    """Return a column of an output; UserError where it has none of that name."""
    schema = lake.dataset().schema
    if column not in schema.names:
        raise UserError(
            f"{lake.output.uri} has no column {column!r}, but {', '.join(schema.names) or 'none'}"
        )
    return schema.field(column)


def paired(pictures: Sequence[P], uris: Sequence[str]) -> dict[str, P]:
    """Return the labels of each row that has some, by its uri; UserError for none, or for two."""
    by_uri = {_uri(one): one for one in pictures}
    if found := {uri: by_uri[uri] for uri in uris if uri in by_uri}:
        return found
    by_name = {_name(_uri(one)): one for one in pictures}
    found = {uri: by_name[_name(uri)] for uri in uris if _name(uri) in by_name}
    if not found:
        raise UserError(
            f"none of the {len(uris):,} rows, such as {_first(uris)}, is of one of the "
            f"{len(pictures):,} labelled pictures, such as {_first(map(_uri, pictures))}: "
            "neither their uris nor their file names agree"
        )
    rows = Counter(map(_name, found))
    labelled = Counter(name for one in pictures if (name := _name(_uri(one))) in rows)
    _check_once(rows, "rows")
    _check_once(labelled, "labelled pictures")
    return found


def _check_sizes(pictures: Sequence[Named], rows: pa.RecordBatch) -> None:
    """Raise UserError for a picture of another size; one that was not looked at has none.

    Words are of no size.
    """
    for picture, row in zip(
        pictures, rows.select(["uri", "width", "height"]).to_pylist(), strict=True
    ):
        if isinstance(picture, Labelled) and None not in (row["width"], row["height"]):
            picture.check_size((row["width"], row["height"]), row["uri"])


def _check_once(names: Mapping[str, int], what: str) -> None:
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UserError(
            f"rows and labels of other folders belong together by file name, but several {what} "
            f"are called {twice[0]}: give labels whose files lie where the output looked at them"
        )


def _uri(picture: Named) -> str:
    return picture.uri or canonical(str(picture.path))


def _name(uri: str) -> str:
    name = uri.rpartition("/")[2]
    return name if is_s3(uri) else unquote(name)


def _left_out(
    pictures: Sequence[Named], uris: Sequence[str], pairs: Mapping[str, Named]
) -> tuple[str, ...]:
    """Say what only one side has."""
    seen = {id(one) for one in pairs.values()}
    unseen = [_uri(one) for one in pictures if id(one) not in seen]
    unlabelled = [uri for uri in uris if uri not in pairs]
    notes = []
    if unseen:
        notes.append(f"the output lacks {some(unseen)} that are labelled: they do not count")
    if unlabelled:
        notes.append(f"the labels lack {some(unlabelled)} of the output: they do not count")
    return tuple(notes)


def _first(names: Iterable[object]) -> str:
    return str(next(iter(names), "none"))
