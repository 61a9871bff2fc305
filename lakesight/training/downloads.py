"""The pictures of an output as local files, each fetched once, and only as it was annotated."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.files import PART, locked, whole
from lakesight.lake.fetch import FetchError, fetch
from lakesight.lake.local import LocalStore
from lakesight.lake.uris import is_s3, local_path
from lakesight.media.limits import MIB, Limits
from lakesight.schemas import LISTING, object_etag

log = logging.getLogger(__name__)

MAX_BYTES_IN_FLIGHT = 512 * MIB
CONCURRENCY = 32
MAX_NAMED = 3
"""Pictures that an error names."""

Row = Mapping[str, str]
"""`id`, `uri` and `etag` of a picture."""


def local_files(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Return a file for every row: a local picture where it lies, others fetched into the folder.

    There a file is named by the row's id, that is by uri and etag, and is whole or absent: it is
    fetched once, whoever trains, since one process at a time fetches into a folder. Raises
    UserError that names the pictures that are gone, were changed since they were annotated, or
    cannot be read; StoreError for what may pass.
    """
    paths = {
        row["id"]: folder / row["id"][:2] / row["id"]
        if is_s3(row["uri"])
        else local_path(row["uri"])
        for row in rows
    }
    remote = [row for row in rows if is_s3(row["uri"])]
    failed = list(_unlike(row for row in rows if not is_s3(row["uri"])))
    if _missing(remote, paths):
        with locked(folder, busy=None):
            _sweep(folder)
            failed += _fetched(_missing(remote, paths), paths)
    if failed:
        more = len(failed) - MAX_NAMED
        named = "; ".join(failed[:MAX_NAMED]) + (f"; and {more:,} more" if more > 0 else "")
        raise UserError(
            f"{len(failed):,} of {len(rows):,} pictures cannot be trained on: {named}. Run "
            "annotate again, so that the output knows them as they are, or put them back"
        )
    return [paths[row["id"]] for row in rows]


def _unlike(rows: Iterator[Row]) -> Iterator[str]:
    """Yield a phrase for every local picture that is not the one of its etag."""
    for row in rows:
        path = local_path(row["uri"])
        entry = LocalStore(path.parent).head(path.name)
        if entry is None:
            yield f"{row['uri']} does not exist any more"
        elif entry.etag != object_etag(row["etag"]):
            yield f"{row['uri']} was changed since it was annotated"


def _missing(rows: Sequence[Row], paths: Mapping[str, Path]) -> list[Row]:
    return [row for row in rows if not paths[row["id"]].exists()]


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left half-written; nobody else writes here now."""
    for part in folder.glob(f"*/.*{PART}"):
        part.unlink(missing_ok=True)


def _fetched(rows: Sequence[Row], paths: Mapping[str, Path]) -> Iterator[str]:
    """Fetch pictures into their files; yield a phrase for every one that cannot be had."""
    if rows:
        log.info("fetching %d pictures", len(rows))
    wanted = pa.table(
        {
            "uri": pa.array([row["uri"] for row in rows], pa.string()),
            "etag": pa.array([row["etag"] for row in rows], pa.string()),
            "size": pa.nulls(len(rows), LISTING.field("size").type),
        }
    )
    limits = {"max_bytes_in_flight": MAX_BYTES_IN_FLIGHT, "max_object_bytes": Limits().max_bytes}
    for number, answer in fetch(wanted, concurrency=CONCURRENCY, **limits):
        row = rows[number]
        if isinstance(answer, FetchError):
            yield f"{row['uri']} {answer}"
        else:
            path = paths[row["id"]]
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as part:
                part.write_bytes(answer)
