"""The pictures that an export is calibrated and judged by: the user's own, or generated scenes."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakesight.errors import UserError
from lakesight.exporting.base import Source
from lakesight.lake.fetch import FetchError, fetch
from lakesight.lake.output import Output
from lakesight.lake.reader import Lake
from lakesight.lake.source import Source as Listing
from lakesight.media.decode import Decoded
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.resize import draw
from lakesight.media.view import ImageView
from lakesight.models.base import Image
from lakesight.models.yolo.folder import Contract
from lakesight.scenes import LABELS, generate
from lakesight.scenes.folder import SceneFolder
from lakesight.scenes.known import holds_scenes
from lakesight.scenes.plan import Plan
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.sources import Split, open_data

log = logging.getLogger(__name__)

LISTED_PER_VIEW = 20
"""Of a long listing so many rows are read for each picture that is taken from them."""
VIEWS_SEED, CALIBRATION_SEED = 1_000_001, 1_000_002
"""Of generated scenes; unlike those that anybody trains on."""
IN_FLIGHT = {"max_bytes_in_flight": 64 << 20, "concurrency": 8}


@dataclass(frozen=True)
class Samples:
    """Pictures to compare two networks on."""

    what: str
    """Where they are from, in a few words."""
    views: Sequence[Image]
    labelled: Pictures | None = None
    """The same pictures, and more, with what is on them, where that is known."""


def given(
    uri: str,
    view: ImageView,
    contract: Contract,
    count: int,
    *,
    split: Split = "val",
    images: str | None = None,
) -> Samples:
    """Return views of what a user names: labelled data, a Lakesight output, or a source.

    Labelled data is what `open_data` opens, with `images` for COCO; a source is what `annotate`
    takes. Raises UserError where no picture can be read; those that cannot are left out with a line
    in the log.
    """
    labelled = _labelled(uri, contract, split, images)
    if labelled is not None:
        return _first_of(labelled, uri, view, count)
    return _of_source(uri, view, count)


def views_for(uri: str | None, view: ImageView, count: int) -> Samples:
    """Return views of a Lakesight output or a source, or where None is named, generated scenes."""
    if uri is None:
        return Samples(f"{count} generated scenes", scene_views(view, count, VIEWS_SEED))
    return _of_source(uri, view, count)


def _of_source(uri: str, view: ImageView, count: int) -> Samples:
    views = _decoded(_spread(_listed(uri, count), count), view, uri)
    return Samples(f"{len(views)} pictures of {uri}", views)


def scenes(source: Source, counts: tuple[int, int], seed: int) -> Samples:
    """Return generated scenes; labelled where the model's classes are those of the scenes.

    `counts` are the views, and the labelled pictures.
    """
    num_views, num_labelled = counts
    view = source.view
    if source.labels != LABELS or not num_labelled:
        return Samples(f"{num_views} generated scenes", scene_views(view, num_views, seed))
    folder = source.scratch / f"scenes-{seed}"
    _draw_all(SceneFolder(folder), _plan(seed, num_labelled, _side(view)))
    contract = source.contract
    labelled = open_data(str(folder), "val", contract.task, multi_label=contract.multi_label)
    return _first_of(labelled, "generated scenes", view, num_views)


def scene_views(view: ImageView, count: int, seed: int) -> list[Image]:
    """Return generated scenes as a view."""
    side = _side(view)
    return [_drawn(generate(seed, index, side).pixels, view) for index in range(count)]


def _side(view: ImageView) -> int:
    """Return the side of the scenes for a view, in pixels."""
    return max(64, min(view.width, view.height))


def _plan(seed: int, num_pictures: int, side: int) -> Plan:
    return Plan(
        seed=seed,
        num_images=0,
        num_val=num_pictures,
        num_videos=0,
        num_frames=1,
        width=side,
        height=side,
    )


def _draw_all(folder: SceneFolder, plan: Plan) -> None:
    with folder.bound(plan):
        for part in folder.pending(plan):
            folder.draw(plan, part)
        for split in plan.splits():
            folder.finish(plan, split)


def _labelled(uri: str, contract: Contract, split: Split, images: str | None) -> Pictures | None:
    """Return labelled data; None for what has another form, such as pictures alone."""
    path = Path(uri)
    known = path.suffix in (".yaml", ".yml", ".json") or holds_scenes(path)
    classes = contract.task == "classify" and (path / split).is_dir()
    if not known and not classes:
        return None
    several = contract.multi_label
    return open_data(uri, split, contract.task, images=images, multi_label=several)


def _first_of(labelled: Pictures, what: str, view: ImageView, count: int) -> Samples:
    paths = [str(one.path) for one in labelled.pictures]
    listing = pa.table({"uri": paths, "etag": pa.nulls(len(paths), pa.string())})
    rows = _spread(listing, count)
    views = _decoded(rows, view, what)
    return Samples(f"{len(labelled)} labelled pictures of {what}", views, labelled)


def _listed(uri: str, count: int) -> pa.Table:
    """Return `uri` and `etag` of the first pictures of an output or a source."""
    output = Output.open(uri)
    pages: Iterable[pa.Table] = _seen(output) if output.has_rows() else Listing(uri=uri).list()
    taken: list[pa.Table] = []
    for page in pages:
        taken.append(page.select(["uri", "etag"]))
        if sum(one.num_rows for one in taken) >= count * LISTED_PER_VIEW:
            break
    if not taken:
        raise UserError(f"there are no pictures in {uri}")
    return pa.concat_tables(taken)


def _seen(output: Output) -> Iterator[pa.Table]:
    """Yield the pictures that an output has rows of."""
    for batch in Lake(output).latest():
        rows = pa.Table.from_batches([batch]).select(["uri", "etag", "status"])
        yield rows.filter(pc.equal(rows["status"], "ok"))


def _spread(rows: pa.Table, count: int) -> pa.Table:
    """Return `count` rows at even distances, or all."""
    if rows.num_rows <= count:
        return rows
    return rows.take(np.linspace(0, rows.num_rows - 1, count).round().astype(np.int64))


def _decoded(rows: pa.Table, view: ImageView, what: str) -> list[Image]:
    """Return the views of those pictures that can be had, in the order of the rows."""
    limits = Limits()
    sized = rows.append_column("size", pa.nulls(rows.num_rows, pa.int64()))
    data = fetch(sized, max_object_bytes=limits.max_bytes, **IN_FLIGHT)
    encoded = ((row, found) for row, found in data if not isinstance(found, FetchError))
    with DecodePool([view], limits, num_processes=1) as pool:
        found = dict(pool.decode(encoded))
    views = [one.views[0] for _, one in sorted(found.items()) if isinstance(one, Decoded)]
    if not views:
        raise UserError(f"no picture in {what} can be read: name a folder that holds some")
    if len(views) < rows.num_rows:
        lost = rows.num_rows - len(views)
        log.warning("%d of %d pictures of %s cannot be read", lost, rows.num_rows, what)
    return views


def _drawn(pixels: Image, view: ImageView) -> Image:
    out = np.empty((view.height, view.width, 3), np.uint8)
    draw(pixels, (pixels.shape[1], pixels.shape[0]), view, out)
    return out
