"""Where exports lie: in the model's folder, or in a copy of it, named in its card.

Whatever is killed and whenever: a card names files that are there, whole, and the next export goes
on from what it finds.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

from lakesight.errors import UserError
from lakesight.exporting.bucket import published
from lakesight.exporting.source import check_same
from lakesight.files import PART, locked_itself
from lakesight.lake.store import StoreError
from lakesight.lake.uris import is_s3
from lakesight.models.artefact import sha256_of, stage
from lakesight.models.base import Artefact, FolderSource, ModelCard
from lakesight.models.catalog import parse_card
from lakesight.models.yolo.folder import CARD, write_card

FOLDER = "exports"
REPORT = "report.json"


def held(card: ModelCard, output: str | None) -> AbstractContextManager[Path]:
    """Return a context of the model folder to write into, held for this run alone.

    It is the model's own, or `output`, which becomes a copy of it; that of a bucket is at hand as a
    local folder, and published when the context ends well.
    """
    if output is not None and is_s3(output):
        return published(card, output, _locked)
    return _locked(card, Path(output).resolve() if output is not None else None)


@contextmanager
def _locked(card: ModelCard, output: Path | None) -> Iterator[Path]:
    folder = _local(card) if output is None else output
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked_itself(folder, f"another export writes to {folder}: wait until it is done"):
        if output is not None:
            _copy(card, folder)
        with writing(folder):
            _sweep(folder)
        yield folder


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise UserError where a folder cannot be written into: no rights, no space."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error


def _local(card: ModelCard) -> Path:
    source = card.source
    if isinstance(source, FolderSource) and (Path(source.uri) / CARD).is_file():
        return Path(source.uri)
    raise UserError(
        f"{card.name} lies where nothing can be written beside it: name an OUTPUT folder, into "
        "which it is copied"
    )


def own_card(folder: Path) -> ModelCard:
    """Return the card that lies in a folder."""
    return parse_card((folder / CARD).read_bytes(), str(folder))


def _copy(card: ModelCard, folder: Path) -> None:
    """Let the folder hold the model's files and card; some may be there from before."""
    if (folder / CARD).is_file():
        check_same(card, own_card(folder), str(folder))
        return
    _check_nothing_else(card, folder)
    staged = stage(card)
    with writing(folder):
        for name in card.sha256:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + PART)  # a run that was killed leaves one at most
            shutil.copyfile(staged / name, part)
            part.replace(path)
        write_card(folder, card.model_copy(update={"artefacts": ()}))


def _check_nothing_else(card: ModelCard, folder: Path) -> None:
    """Raise UserError for anything but what a copy that was killed has left."""
    for path in (one for one in folder.rglob("*") if one.is_file()):
        name = path.relative_to(folder).as_posix()
        digest = card.sha256.get(name)
        is_whole = digest is not None and sha256_of(path) == digest
        if not is_whole and not name.endswith(PART):
            raise UserError(
                f"{folder} is not empty, and no copy of {card.name}: give another OUTPUT"
            )


def _sweep(folder: Path) -> None:
    """Remove what exports that were killed have left, which no card names."""
    named = {_home(one) for one in own_card(folder).artefacts}
    exports = folder / FOLDER
    for path in list(exports.iterdir()) if exports.is_dir() else ():
        is_ours = path.name.startswith(".") or (path / REPORT).is_file()
        if is_ours and path.name not in named:
            # killed while it is half removed, it is still known for what it is
            shutil.rmtree(path.replace(exports / f".{path.name.lstrip('.')}.{uuid4().hex}"))


def _home(artefact: Artefact) -> str | None:
    """Return the folder in `exports` that an export lies in; None for any other place."""
    parts = PurePosixPath(artefact.main).parts
    homes = _homes(artefact.name)
    return parts[1] if len(parts) > 2 and parts[0] == FOLDER and parts[1] in homes else None


def _homes(name: str) -> tuple[str, str]:
    """Return where an export may lie: when it is made again, the card leaves one for the other."""
    return name, f"{name}-2"


def put(artefact: Artefact, part: Path, folder: Path) -> Artefact:
    """Give the files their place, let the card name them, and only then remove an older export."""
    card = own_card(folder)
    before = {_home(one) for one in card.artefacts if one.name == artefact.name}
    home = next(one for one in _homes(artefact.name) if one not in before)
    prefix = f"{FOLDER}/{home}"
    placed = artefact.model_copy(
        update={
            "main": f"{prefix}/{artefact.main}",
            "files": {f"{prefix}/{name}": digest for name, digest in artefact.files.items()},
        }
    )
    part.replace(folder / prefix)
    others = tuple(one for one in card.artefacts if one.name != artefact.name)
    write_card(folder, card.model_copy(update={"artefacts": (*others, placed)}))
    _sweep(folder)
    return placed
