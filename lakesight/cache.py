"""Where things are kept that can be fetched or computed again."""

import os
from pathlib import Path

from lakesight.errors import UserError


def cache_folder(name: str) -> Path:
    """Return the folder `name` of the cache, made where it is missing.

    It lies in XDG_CACHE_HOME, or in `~/.cache`. Raises UserError where it cannot be written.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "lakesight" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the cache {folder}: {error.strerror}. "
            "Set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return folder
