"""A folder of scenes: files that are whole or absent, so that a killed run goes on where it was."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from lakesight.errors import UserError
from lakesight.files import locked_itself
from lakesight.scenes import coco
from lakesight.scenes.known import NAME
from lakesight.scenes.plan import JPEG_QUALITY, Plan, Slice
from lakesight.scenes.rows import FRAME, PICTURE, frame_row, picture_row
from lakesight.scenes.scene import generate
from lakesight.scenes.video import frames

PARTS = "_parts"
"""Tables of the slices that are done, and files that are being written; gone at the end."""


@dataclass(frozen=True)
class SceneFolder:
    """Where scenes are written to: a local folder."""

    root: Path

    @contextmanager
    def bound(self, plan: Plan) -> Iterator[None]:
        """Hold the folder for this plan alone.

        Raises UserError where it holds other scenes or other things, or where another run writes.
        """
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"expected a folder for the scenes, got the file {self.root}")
        self.root.mkdir(parents=True, exist_ok=True)
        busy = f"another run writes to {self.root}: wait until it is done"
        with locked_itself(self.root, busy):
            self._bind(plan)
            yield

    def _bind(self, plan: Plan) -> None:
        path = self.root / NAME
        if path.exists():
            _compare(path, plan.describe())
            return
        others = sorted(each.name for each in self.root.iterdir() if each.name != PARTS)
        if others:
            raise UserError(
                f"expected an empty folder or one of `lakesight scenes`, got {self.root} with "
                f"{others[0]!r} in it: give another OUTPUT"
            )
        with self._whole(NAME) as temporary:
            temporary.write_text(json.dumps(plan.describe(), indent=2) + "\n")

    def pending(self, plan: Plan) -> list[Slice]:
        """Return the slices that are not drawn yet."""
        return [
            part
            for split in plan.splits()
            if not self._table(split).exists()
            for part in plan.slices(split)
            if not self._part(part).exists()
        ]

    def draw(self, plan: Plan, part: Slice) -> None:
        """Write the pictures of a slice, then its rows: their file says that the slice is done."""
        rows = self._videos(plan, part) if part.split == "videos" else self._pictures(plan, part)
        table = pa.Table.from_pylist(list(rows), schema=_schema(part.split))
        with self._whole(f"{PARTS}/{part.name}.parquet") as temporary:
            pq.write_table(table, temporary)

    def _pictures(self, plan: Plan, part: Slice) -> Iterator[dict[str, Any]]:
        for index in range(part.start, part.stop):
            scene = generate(plan.split_seed(part.split), index, plan.size)
            name = f"images/{part.split}/{index:06}.jpg"
            self._write_jpeg(name, scene.pixels)
            yield picture_row(scene, name)

    def _videos(self, plan: Plan, part: Slice) -> Iterator[dict[str, Any]]:
        for video in range(part.start, part.stop):
            seed = plan.split_seed(part.split)
            for frame in frames(seed, video, plan.size, plan.num_frames):
                name = f"videos/{video:06}/{frame.frame_index:06}.jpg"
                self._write_jpeg(name, frame.pixels)
                yield frame_row(frame, name, video)

    def finish(self, plan: Plan, split: str) -> None:
        """Join the rows of a split's slices into its table, written last, and COCO files."""
        if self._table(split).exists():
            return
        parts = [self._part(part) for part in plan.slices(split)]

        def rows() -> Iterator[dict[str, Any]]:
            for path in parts:
                yield from pq.read_table(path).to_pylist()

        files = coco.VIDEO_FILES if split == "videos" else coco.PICTURE_FILES
        for kind, sections in files.items():
            with self._whole(f"annotations/{kind}_{split}.json") as temporary:
                coco.write(temporary, sections(rows))
        with (
            self._whole(f"tables/{split}.parquet") as temporary,
            pq.ParquetWriter(temporary, _schema(split)) as writer,
        ):
            for path in parts:
                writer.write_table(pq.read_table(path))

    def clear(self) -> None:
        """Remove what only an unfinished folder needs."""
        shutil.rmtree(self.root / PARTS, ignore_errors=True)

    def _part(self, part: Slice) -> Path:
        return self.root / PARTS / f"{part.name}.parquet"

    def _table(self, split: str) -> Path:
        return self.root / "tables" / f"{split}.parquet"

    def _write_jpeg(self, name: str, pixels: npt.NDArray[np.uint8]) -> None:
        with self._whole(name) as temporary:
            temporary.write_bytes(jpeg(pixels))

    @contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; it gets its name when all is written."""
        path = self.root / name
        temporary = self.root / PARTS / f"{name.replace('/', '-')}.{os.getpid()}.tmp"
        for folder in (path.parent, temporary.parent):
            folder.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)


def jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture `(H, W, 3)` as JPEG, its colours at full resolution."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=JPEG_QUALITY, colorsubsampling="444"
    )
    return data


def _schema(split: str) -> pa.Schema:
    return FRAME if split == "videos" else PICTURE


def _compare(path: Path, wanted: dict[str, Any]) -> None:
    """Raise UserError unless the folder was begun with the same settings and generator."""
    try:
        found = json.loads(path.read_text())
        before = {**found["settings"], "version": found["generator"]["version"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"expected the settings of scenes in {path}, got {error!r}") from error
    now = {**wanted["settings"], "version": wanted["generator"]["version"]}
    differing = sorted(name for name in now if before.get(name) != now[name])
    if differing:
        told = ", ".join(f"{name} {before.get(name)} (now {now[name]})" for name in differing)
        raise UserError(f"{path.parent} holds other scenes, {told}: give another OUTPUT")
