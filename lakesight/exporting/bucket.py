"""A model folder in a bucket: exported into as a local folder, then published, the card last."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from lakesight.errors import UserError
from lakesight.exporting.source import check_same
from lakesight.lake.store import Entry, Store
from lakesight.models.base import ModelCard
from lakesight.models.catalog import parse_card
from lakesight.models.yolo.folder import CARD

Locked = Callable[[ModelCard, Path], AbstractContextManager[Path]]


@contextmanager
def published(card: ModelCard, uri: str, locked: Locked) -> Iterator[Path]:
    """Yield a local folder with the card of the prefix `uri`, or a copy of the model where none is.

    What it holds in the end is published, and the exports that its card no longer names are
    deleted. Raises UserError where the prefix holds anything else, and where somebody else has
    published there meanwhile.
    """
    there = _There(uri)
    with tempfile.TemporaryDirectory(prefix="lakesight-export-") as name:
        folder = Path(name).resolve()
        if there.before is None:
            there.check_nothing_else(card)
        else:
            text = there.store.get(there.key(CARD))
            check_same(card, parse_card(text, there.uri), there.uri)
            (folder / CARD).write_bytes(text)
        with locked(card, folder):
            yield folder
            there.publish(folder)


class _There:
    """The prefix, as it was when the export began."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.store, self.prefix = Store.open(uri)
        self.before: Entry | None = self.store.head(self.key(CARD))

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}".lstrip("/")

    def check_nothing_else(self, card: ModelCard) -> None:
        """Raise UserError for anything but what a publication that was killed has left."""
        start = len(self.key(""))
        for page in self.store.list(self.prefix):
            for key in page["key"].to_pylist():
                name = key[start:]
                if not name.startswith("exports/") and not self._has(name, card):
                    raise UserError(
                        f"{self.uri} is not empty, and no copy of {card.name}: give another OUTPUT"
                    )

    def _has(self, name: str, card: ModelCard) -> bool:
        if name not in card.sha256:
            return False
        return hashlib.sha256(self.store.get(self.key(name))).hexdigest() == card.sha256[name]

    def publish(self, folder: Path) -> None:
        """Put every file, then the card; delete what only the card before it named."""
        old = set() if self.before is None else self._homes(self.store.get(self.key(CARD)))
        self._check_unchanged(is_same=self.store.head(self.key(CARD)) == self.before)
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name != CARD:
                self.store.put(self.key(name), path.read_bytes())
        text = (folder / CARD).read_bytes()
        if self.before is None:
            self._check_unchanged(is_same=self.store.create(self.key(CARD), text))
        else:
            self._check_unchanged(is_same=self.store.head(self.key(CARD)) == self.before)
            self.store.put(self.key(CARD), text)
        for home in old - self._homes(text):
            for page in self.store.list(self.key(home)):
                for key in page["key"].to_pylist():
                    self.store.delete(key)

    def _check_unchanged(self, *, is_same: bool) -> None:
        if not is_same:
            raise UserError(f"somebody else has exported into {self.uri} meanwhile: run it again")

    def _homes(self, text: bytes) -> set[str]:
        """Return the folders, such as `exports/onnx`, that a card's exports lie in."""
        names = [name for one in parse_card(text, self.uri).artefacts for name in one.files]
        parts = [PurePosixPath(name).parts for name in names]
        return {"/".join(one[:2]) for one in parts if len(one) > 2 and one[0] == "exports"}
