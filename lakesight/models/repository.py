"""Where a transformers checkpoint lies: a folder, an s3:// prefix, or the Hugging Face hub."""

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.models.base import FolderSource, HubSource

CHUNK = 8 << 20


class Repository(Protocol):
    """The files of one checkpoint."""

    title: str
    """How messages name it."""

    @property
    def source(self) -> FolderSource | HubSource:
        """What a card says of it."""
        ...

    def names(self) -> list[str]:
        """Return the names of the files at the top."""
        ...

    def read(self, name: str) -> bytes:
        """Return a small file."""
        ...

    def sha256(self, name: str) -> str:
        """Return a file's hex digest."""
        ...


_digests: dict[tuple[str, str, str], str] = {}
"""Hex digests by folder, file and etag: a server looks its models up every few seconds."""


class FolderRepository:
    """A local folder or an s3:// prefix. A digest costs one read of the file, once a process."""

    def __init__(self, uri: str) -> None:
        self._store, self._prefix = Store.open(uri)
        place = uri.rstrip("/") if uri.startswith("s3://") else str(Path(uri).resolve())
        self.source = FolderSource(uri=place)
        self.title = self.source.uri

    def names(self) -> list[str]:
        """Return the names of the files at the top."""
        start = f"{self._prefix}/" if self._prefix else ""
        keys = (key for table in self._store.list(self._prefix) for key in table["key"].to_pylist())
        names = (key.removeprefix(start) for key in keys)
        return [name for name in names if "/" not in name]

    def read(self, name: str) -> bytes:
        """Return a small file."""
        return self._store.get(self._key(name))

    def sha256(self, name: str) -> str:
        """Return a file's hex digest."""
        found = self._store.head(self._key(name))
        known = (self.source.uri, name, found.etag if found else "")
        if known not in _digests:
            digest = hashlib.sha256()
            with self._store.reader(self._key(name)) as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
            _digests[known] = digest.hexdigest()
        return _digests[known]

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return self._store.exists(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


class HubRepository:
    """A hub repository at one commit. Weights' digests are the hub's own; nothing large is fetched.

    `HF_TOKEN`, `HF_ENDPOINT` and `HF_HOME` are honoured as by every client of the hub.
    """

    def __init__(self, repo: str, revision: str) -> None:
        self.title = f"hf:{repo}@{revision}"
        self.source = HubSource(repo=repo, revision=revision)
        self._files = {file.rfilename: file for file in self._info().siblings}

    def _info(self) -> Any:
        from huggingface_hub import HfApi

        try:
            return HfApi().model_info(
                self.source.repo, revision=self.source.revision, files_metadata=True
            )
        except Exception as error:  # the client's transport errors share no public base
            raise self._unreachable(error) from error

    def names(self) -> list[str]:
        """Return the names of the files at the top."""
        return [name for name in self._files if "/" not in name]

    def read(self, name: str) -> bytes:
        """Return a small file, through the hub client's cache."""
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(self.source.repo, name, revision=self.source.revision)
        except Exception as error:  # as above
            raise self._unreachable(error) from error
        return Path(path).read_bytes()

    def sha256(self, name: str) -> str:
        """Return a file's hex digest: the hub's for what it keeps by digest, else of its bytes."""
        lfs = self._files[name].lfs
        return str(lfs.sha256) if lfs is not None else hashlib.sha256(self.read(name)).hexdigest()

    def _unreachable(self, error: Exception) -> UserError:
        return UserError(
            f"cannot read {self.title}: {str(error).partition(chr(10))[0]}. Expected a repository "
            "that is public or that HF_TOKEN may read, and a network; without one, copy the folder "
            "here and name its path"
        )


HUB_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>.*))?")


def open_repository(name: str) -> Repository | None:
    """Return what `hf:owner/repo@commit`, a folder or an s3:// prefix names, or None.

    A folder counts if it has a config.json. Raises `UserError` for a hub name without a commit.
    """
    if name.startswith("hf:"):
        return _hub(*_pinned(name), os.environ.get("HF_ENDPOINT"))
    if not name.startswith("s3://") and not Path(name).is_dir():
        return None
    folder = FolderRepository(name)
    return folder if folder.has("config.json") else None


@lru_cache
def _hub(repo: str, revision: str, _: str | None) -> HubRepository:
    """Return a repository, asked once of an endpoint: a commit stays as it is."""
    return HubRepository(repo, revision)


def _pinned(name: str) -> tuple[str, str]:
    """Return a hub name's repository and commit."""
    parts = HUB_NAME.fullmatch(name)
    if parts is None:
        raise UserError(f"{name!r} is no hub name: expected hf:owner/repository@commit")
    repo, revision = parts["repo"], parts["revision"] or ""
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"{name} names no commit: expected hf:{repo}@ and the 40 hex digits of one, so that "
            "what was checked is what is loaded. The hub lists them under Files, History: "
            f"https://huggingface.co/{repo}/commits/main"
        )
    return repo, revision
