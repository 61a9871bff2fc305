"""Where an index is published: immutable builds, and one small pointer that is replaced last.

```
INDEX/
  current.json                        which build to open, and the digest of its manifest
  builds/<build>/manifest.json        the digest of every file beside it
  builds/<build>/index.faiss          vectors in the order of the rows
  builds/<build>/rows-00000.parquet   what the vectors stand for
```

A build is complete before the pointer names it, and the pointer is one object: a reader sees the
old build or the new one. A writer that dies leaves a build that nobody names, swept a day later.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from indexes.manifest import Digest, IndexManifest, Pointer, digest
from lakesight.errors import UserError, first_mistake
from lakesight.lake.local import LocalStore
from lakesight.lake.store import Store
from lakesight.models.base import Frozen

POINTER = "current.json"
MANIFEST = "manifest.json"
Told = TypeVar("Told", bound=Frozen)
ABANDONED_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class IndexStore:
    """An index, published or about to be, under `prefix` of a store."""

    uri: str
    store: Store
    prefix: str

    @classmethod
    def open(cls, uri: str) -> "IndexStore":
        """Return the index at a local folder or an s3:// prefix, whether it exists or not."""
        store, prefix = Store.open(uri)
        if prefix and isinstance(store, LocalStore):
            raise UserError(f"expected a folder for the index, got the file {uri!r}")
        return cls(uri, store, prefix)

    def key(self, *names: str) -> str:
        """Return the key of something in the index."""
        return "/".join(name for name in (self.prefix, *names) if name)

    def pointer(self) -> Pointer | None:
        """Return which build is the current one, or None before the first."""
        if not self.store.exists(self.key(POINTER)):
            return None
        return self._parse(POINTER, Pointer, self.store.get(self.key(POINTER)))

    def current(self) -> IndexManifest | None:
        """Return the manifest of the current build, or None before the first."""
        pointer = self.pointer()
        if pointer is None:
            return None
        data = self._get("builds", pointer.build_id, MANIFEST)
        self._check(MANIFEST, pointer.manifest, digest(BytesIO(data)))
        return self._parse(MANIFEST, IndexManifest, data)

    def fetch(self, manifest: IndexManifest, folder: Path, names: Iterable[str]) -> dict[str, Path]:
        """Return a local path by name for files of a build, each of them verified.

        Files that are not local are copied into `folder` first.
        """
        paths = {name: self._local(manifest.build_id, name, folder) for name in names}
        for name, path in paths.items():
            with path.open("rb") as file:
                self._check(name, manifest.files[name], digest(file))
        return paths

    def publish(self, folder: Path, manifest: IndexManifest, keep: int) -> None:
        """Copy the files of a build from `folder`, then make it the current one.

        Of the builds that were current before, `keep - 1` stay for readers that still use them.
        """
        for name in manifest.files:
            self.store.put_file(self.key("builds", manifest.build_id, name), folder / name)
        data = manifest.model_dump_json(indent=2).encode()
        self.store.put(self.key("builds", manifest.build_id, MANIFEST), data)
        history = self._history()
        pointer = Pointer(
            build_id=manifest.build_id,
            manifest=digest(BytesIO(data)),
            previous=history[: keep - 1],
        )
        self.store.put(self.key(POINTER), pointer.model_dump_json(indent=2).encode())
        self._sweep({pointer.build_id, *pointer.previous}, set(history[keep - 1 :]))

    def _history(self) -> tuple[str, ...]:
        """Return the builds that are or were current and are kept, newest first."""
        try:
            pointer = self.pointer()
        except UserError:  # a damaged index is mended by building it again
            return ()
        return (pointer.build_id, *pointer.previous) if pointer else ()

    def _sweep(self, kept: set[str], dropped: set[str]) -> None:
        """Delete the dropped builds, and those that no pointer named within a day."""
        oldest = datetime.now(UTC) - ABANDONED_AFTER
        for build_id, (modified, keys) in self._builds().items():
            abandoned = build_id not in kept and modified < oldest
            if build_id in dropped or abandoned:
                for key in keys:
                    self.store.delete(key)

    def _builds(self) -> dict[str, tuple[datetime, list[str]]]:
        """Return, by build, when it was last written to and the keys of its files."""
        builds: dict[str, tuple[datetime, list[str]]] = {}
        folder = self.key("builds")
        for table in self.store.list(folder):
            for entry in table.to_pylist():
                build_id = entry["key"].removeprefix(f"{folder}/").split("/")[0]
                modified, keys = builds.get(build_id, (entry["modified"], []))
                builds[build_id] = max(modified, entry["modified"]), [*keys, entry["key"]]
        return builds

    def _local(self, build_id: str, name: str, folder: Path) -> Path:
        key = self.key("builds", build_id, name)
        if isinstance(self.store, LocalStore):
            path = self.store.root / key
            if not path.is_file():
                raise self._damaged(name, "it is missing")
            return path
        try:
            with self.store.reader(key) as remote, (folder / name).open("wb") as local:
                shutil.copyfileobj(remote, local, 1 << 20)
        except FileNotFoundError:
            raise self._damaged(name, "it is missing") from None
        return folder / name

    def _get(self, *names: str) -> bytes:
        try:
            return self.store.get(self.key(*names))
        except FileNotFoundError:
            raise self._damaged(names[-1], "it is missing") from None

    def _parse(self, name: str, kind: type[Told], data: bytes) -> Told:
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            raise self._damaged(name, first_mistake(error)) from error

    def _check(self, name: str, expected: Digest, found: Digest) -> None:
        if found != expected:
            raise self._damaged(name, "its bytes are not those that were published")

    def _damaged(self, name: str, why: str) -> UserError:
        return UserError(
            f"the index {self.uri} is damaged: {name}: {why}; "
            "build it again with `lakesight index OUTPUT INDEX --rebuild`"
        )
