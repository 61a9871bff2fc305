"""From a card's source to a local folder that holds exactly the card's files, each checked."""

import hashlib
import importlib.util
import os
from pathlib import Path, PurePosixPath
from typing import assert_never

from lakesight.errors import UserError
from lakesight.models.base import FolderSource, HubSource, ModelCard, PackageSource


def cache_root() -> Path:
    """Return the folder for what can be fetched or computed again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lakesight"


def stage(card: ModelCard) -> Path:
    """Return a local folder that holds the files listed in `card.sha256`, and no other.

    Every file is fetched where needed and its digest checked. Raises UserError when the source is
    missing, a file is missing, or a digest differs. Costs one read of every file.
    """
    if not card.sha256:
        raise UserError(
            f"the card of {card.name} lists no sha256: nothing could be checked before it is "
            "opened. List every file that the model needs, with its digest."
        )
    folder = cache_root() / "models" / f"{card.name}-{_fingerprint(card)}"
    _make(folder)
    origin = _origin(card, folder)
    for name, digest in card.sha256.items():
        _link(folder / name, origin / _inner(name))
        check_digest(folder / name, digest)
    return folder


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str) -> None:
    """Raise UserError unless the file exists and has the expected hex SHA-256."""
    if not path.is_file():
        raise UserError(f"{path.name} is missing: expected it at {path.resolve()}")
    found = sha256_of(path)
    if found != expected:
        raise UserError(
            f"{path.name} is not the file that its card describes: expected sha256 {expected}, "
            f"got {found}. Fetch it again, or correct the card if you trust the new file."
        )


def only_file(card: ModelCard, *endings: str) -> str:
    """Return the name of the card's one file with such an ending, such as `.onnx`."""
    found = [name for name in card.sha256 if name.endswith(endings)]
    if len(found) != 1:
        raise UserError(
            f"the card of {card.name} lists {len(found)} files ending in {' or '.join(endings)}; "
            "expected exactly one"
        )
    return found[0]


def read_labels(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """Return the class names by id: from the card, or from the file of labels that it names."""
    if card.labels is None:
        raise UserError(f"the card of {card.name} has no labels")
    if not isinstance(card.labels, str):
        return card.labels
    if card.labels not in card.sha256:
        raise UserError(f"the card of {card.name} lists no sha256 for its labels, {card.labels!r}")
    text = (folder / card.labels).read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines())


def _fingerprint(card: ModelCard) -> str:
    return hashlib.sha256(card.model_dump_json(include={"source", "sha256"}).encode()).hexdigest()[
        :16
    ]


def _inner(name: str) -> str:
    """Return a file name that stays inside its folder, or raise UserError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"a card may only list files inside its folder, not {name!r}")
    return name


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the model cache {folder}: {error.strerror}. "
            "Set XDG_CACHE_HOME to a folder that can be written."
        ) from error


def _origin(card: ModelCard, folder: Path) -> Path:
    """Return the local folder that the files come from; remote ones are fetched into `folder`."""
    source = card.source
    match source:
        case PackageSource():
            return _package_folder(source) / source.folder
        case FolderSource() if source.uri.startswith("s3://"):
            raise NotImplementedError
        case FolderSource():
            return Path(source.uri).resolve()
        case HubSource():
            raise NotImplementedError
        case _:
            assert_never(source)


def _package_folder(source: PackageSource) -> Path:
    """Return where a package lies, without importing it."""
    found = importlib.util.find_spec(source.package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package {source.package} is not installed: {source.install}")
    return Path(found.submodule_search_locations[0])


def _link(link: Path, target: Path) -> None:
    """Make `link` lead to `target`; another process may be doing the same."""
    if link == target or (link.is_symlink() and link.readlink() == target):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
