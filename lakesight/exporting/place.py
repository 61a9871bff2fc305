"""Where exports lie: in the model's folder, or in a copy of it, named in its card."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.artefact import stage
from lakesight.models.base import Artefact, FolderSource, ModelCard
from lakesight.models.yolo.folder import CARD, write_card

FOLDER = "exports"


@contextmanager
def held(card: ModelCard, output: Path | None) -> Iterator[Path]:
    """Yield the model folder to write into, held for this run alone."""
    folder = _local(card) if output is None else _copied(card, output)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, folder)
        yield folder
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another export writes to {folder}: wait until it is done") from error


def _local(card: ModelCard) -> Path:
    source = card.source
    if isinstance(source, FolderSource) and (Path(source.uri) / CARD).is_file():
        return Path(source.uri)
    raise UserError(
        f"{card.name} lies where nothing can be written beside it: name an OUTPUT folder, into "
        "which it is copied"
    )


def _copied(card: ModelCard, output: Path) -> Path:
    """Return `output` with the model's files and card in it; it may be there from before."""
    if (output / CARD).is_file():
        there = catalog.resolve(str(output))
        if there.sha256 != card.sha256:
            raise UserError(f"{output} holds other weights ({there.name}): give another OUTPUT")
        return output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty, and no copy of {card.name}: give another OUTPUT")
    staged = stage(card)
    for name in card.sha256:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(staged / name, output / name)
    write_card(output, card.model_copy(update={"artefacts": ()}))
    return output


def place(artefact: Artefact, part: Path, folder: Path) -> Artefact:
    """Give the files their place, and let the card name them: last, so that it never lies."""
    home = f"{FOLDER}/{artefact.name}"
    placed = artefact.model_copy(
        update={
            "main": f"{home}/{artefact.main}",
            "files": {f"{home}/{name}": digest for name, digest in artefact.files.items()},
        }
    )
    card = catalog.resolve(str(folder))
    others = tuple(one for one in card.artefacts if one.name != artefact.name)
    if len(others) < len(card.artefacts):
        write_card(folder, card.model_copy(update={"artefacts": others}))
    shutil.rmtree(folder / home, ignore_errors=True)
    part.replace(folder / home)
    write_card(folder, card.model_copy(update={"artefacts": (*others, placed)}))
    return placed
