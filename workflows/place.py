"""Where a training keeps its files: a folder, or an s3:// prefix with a copy at hand."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.lake.uris import is_s3
from lakesight.training.binding import bind, held
from lakesight.training.loop import CHECKPOINT, SETTINGS, STATE, Callback, Progress
from lakesight.training.settings import LoopSettings
from workflows.lease import leased

RAY = "ray"
"""Folder of the state that Ray Train keeps its own files in, while it trains."""
LEASE = f"{STATE}/lease.json"
"""Of an `s3://` prefix: who trains there."""


class Place:
    """A context: `folder` is the output itself, or a copy that ends with the context.

    Every machine has a copy of its own, and takes what it needs: `pull` and `push`, by name.
    """

    folder: Path

    def __init__(self, output: str) -> None:
        self.output = output
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        if is_s3(output):
            self._copy = tempfile.TemporaryDirectory(prefix="lakesight-train-")
            self._store, self._prefix = Store.open(output)
        self._pushed: dict[str, int] = {}
        self.folder = Path(self._copy.name if self._copy else output).resolve()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._copy:
            self._copy.cleanup()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other trainings out of the output; UserError where one is in it, or else what."""
        if self._copy:
            with leased(self._store, self._key(LEASE)):
                yield
        else:
            with held(self.folder, self.output):
                yield

    def pull(self, *names: str) -> None:
        """Bring those of the files that are there."""
        for name in names if self._copy else ():
            if self._store.exists(self._key(name)):
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._store.get(self._key(name)))

    def pull_state(self) -> None:
        """Bring what the training goes on from."""
        self.pull(*(name for name in self._kept(STATE) if not name.startswith(f"{STATE}/{RAY}/")))

    def push(self, *names: str) -> None:
        """Take those of the files away that have changed, in this order."""
        for name in names if self._copy else ():
            path = self.folder / name
            if path.is_file() and self._pushed.get(name) != (stamp := path.stat().st_mtime_ns):
                self._store.put(self._key(name), path.read_bytes())
                self._pushed[name] = stamp

    def push_all(self) -> None:
        """Take everything away: a checkpoint and a card when what they speak of is there."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.folder).as_posix() for path in files)
        self.push(*sorted(names, key=lambda name: (name == "card.json", name.endswith(CHECKPOINT))))

    def bind(self, job: LoopSettings) -> bool:
        """Bind the output to these settings; return whether it is trained: see `job.bind`."""
        self.pull(f"{STATE}/{SETTINGS}", "card.json")
        if self._copy and not any(self.folder.iterdir()) and self._kept(""):
            raise UserError(f"{self.output} is not empty: name a new prefix")
        is_done = bind(job, self.folder, self.output)
        self.push(f"{STATE}/{SETTINGS}")
        return is_done

    def forget(self, name: str) -> None:
        """Delete a folder of the output."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        for kept in self._kept(name):
            self._store.delete(self._key(kept))

    def ray_storage(self) -> dict[str, Any]:
        """Return where Ray Train may keep what it shares between machines, as its `RunConfig`."""
        if not self._copy:
            return {"storage_path": str(self.folder / STATE)}
        filesystem, root = self._store.filesystem()
        return {"storage_path": f"{root}/{self._key(STATE)}", "storage_filesystem": filesystem}

    def _kept(self, folder: str) -> list[str]:
        """Return the names of a folder's files, but the lease; of a local output none."""
        if not self._copy:
            return []
        pages = self._store.list(self._key(folder).rstrip("/"))
        start = len(self._key(""))
        names = (key[start:] for page in pages for key in page["key"].to_pylist())
        return [name for name in names if name != LEASE]

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")


class Pushed(Callback):
    """Takes a training's files away after every epoch."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def on_epoch(self, progress: Progress) -> None:
        """Take away what the next epoch would go on from."""
        self._place.push_all()

    def on_end(self, progress: Progress, folder: Path) -> None:
        """Take away what was written last."""
        self._place.push_all()
