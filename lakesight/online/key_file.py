"""The file of API keys: written whole, for its owner alone, and read again when it changes."""

import logging
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, field_validator

from lakesight.errors import UserError, first_mistake
from lakesight.files import locked_itself, whole
from lakesight.models.base import Frozen
from lakesight.online.keys import Key, id_of, is_good

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int, int]
"""Inode, size and times of a file: whoever replaces, rewrites or opens it changes one of them."""


class KeyRing(Frozen):
    """All keys, as the file holds them."""

    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()

    @field_validator("keys")
    @classmethod
    def _no_id_twice(cls, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("two keys have one id")
        return keys


def default_path() -> Path:
    """Return where the keys lie unless told otherwise: XDG_CONFIG_HOME, or `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "lakesight" / "keys" / "keys.json"


def read(path: Path) -> KeyRing:
    """Return the keys of a file.

    Raises UserError where it cannot be read, is broken, or may be written by others: whoever writes
    it lets himself in.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"there are no keys in {path}: `lakesight keys create` makes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the keys in {path}: {error}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"others may write {path}, and so make keys: run `chmod 600 {path}`")
    try:
        return KeyRing.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path} is no file of keys: {first_mistake(error)}") from None


def write(path: Path, ring: KeyRing) -> None:
    """Write the keys whole, readable by the owner alone."""
    with whole(path) as part:
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(ring.model_dump_json(indent=1) + "\n", encoding="utf-8")


def add(path: Path, key: Key) -> None:
    """Add a key to the file, which is made where it is missing.

    Raises UserError as `read` does, and while another process changes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked_itself(path.parent, _busy(path)):
        ring = read(path) if path.exists() else KeyRing()
        write(path, KeyRing(keys=(*ring.keys, key)))


def remove(path: Path, key_id: str) -> Key:
    """Take a key out of the file, and return it. Raises UserError where there is none."""
    ring = read(path)
    with locked_itself(path.parent, _busy(path)):
        ring = read(path)
        found = next((key for key in ring.keys if key.id == key_id), None)
        if found is None:
            raise UserError(f"there is no key {key_id!r} in {path}: see `lakesight keys list`")
        write(path, KeyRing(keys=tuple(key for key in ring.keys if key.id != key_id)))
    return found


class KeyFile:
    """The keys of now. A file that breaks or goes away leaves the last good keys in force."""

    def __init__(self, path: Path) -> None:
        """Read the keys. Raises UserError where they cannot be read."""
        self.path = path
        self.mistake: str | None = None
        """What is wrong with the file as it is now, where something is."""
        self._stamp = _stamp(path)
        self._keys = _by_id(read(path))

    def find(self, token: str, kind: str) -> Key | None:
        """Return the key that a token belongs to, or None where it is none that is good now."""
        self._refresh()
        key = self._keys.get(id_of(token) or "")
        return key if key and is_good(token, key, kind, datetime.now(UTC)) else None

    def _refresh(self) -> None:
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = _by_id(read(self.path))
        except UserError as error:
            self.mistake = str(error)
            log.error("the keys in force are the last good ones: %s", error)
        else:
            self.mistake = None
            log.warning("read %d keys again from %s", len(self._keys), self.path)


def _by_id(ring: KeyRing) -> Mapping[str, Key]:
    return {key.id: key for key in ring.keys}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _busy(path: Path) -> str:
    return f"another process changes {path}: run it again"
