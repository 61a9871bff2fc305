"""Which pictures are of `lakesight scenes`."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from lakesight.errors import UserError
from lakesight.lake.store import Store, StoreError
from lakesight.lake.uris import is_s3, local_path
from lakesight.models.base import ModelCard

NAME = "scenes.json"
"""What lies in every folder of scenes, at the top."""


def holds_scenes(folder: Path) -> bool:
    """Return whether a folder is one of scenes."""
    return (folder / NAME).is_file()


def is_scene(uri: str) -> bool:
    """Return whether a picture lies in a folder of scenes, as far as one may look."""
    if not is_s3(uri):
        return any(map(holds_scenes, local_path(uri).parents))
    store, key = Store.open(uri)
    with suppress(UserError, StoreError):
        return any(store.exists(str(folder / NAME)) for folder in PurePosixPath(key).parents)
    return False


def warning_of_others(cards: Iterable[ModelCard], look_up: Callable[[], str]) -> str | None:
    """Return a warning where models that saw nothing but scenes look at something else.

    `look_up` returns the URI of a picture; it is not called where no model is so narrow.
    """
    narrow = [card.name for card in cards if card.knows == "scenes"]
    if not narrow or is_scene(uri := look_up()):
        return None
    return (
        f"warning: {' and '.join(narrow)} learned from pictures of `lakesight scenes` alone; "
        f"{uri} is none (no scenes.json above it), and what is said of it means nothing"
    )
