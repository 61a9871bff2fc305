"""Where the texts of a training are: all of them together, or each kind of them apart."""

from pathlib import Path
from typing import NamedTuple

from lakesight.errors import UserError
from lakesight.training.blip2.settings import Part
from lakesight.training.job import Job

ALL = Part()
"""Texts that are where the whole training's are."""


class Place(NamedTuple):
    """Texts, and the pictures that they are of."""

    data: str
    images: str | None
    """Folder of the pictures that a .json names; its own folder unless given."""


class Places(NamedTuple):
    """What is trained on, and what is validated on."""

    train: Place
    val: Place


def places_of(job: Job, part: Part = ALL, name: str = "") -> Places:
    """Return where the texts of a training are, or those of the part of it that is called so.

    What a part does not say for itself is as for the whole; but its own data is validated on its
    own. Raises UserError for a .json without another to validate on.
    """
    data = part.data or job.data
    val = part.val or (None if part.data else job.val)
    if val is None and Path(data).suffix == ".json":
        flag = f"--{name}.val" if part.data else "--val"
        raise UserError(f"{data} has no parts: name others to validate on with {flag}")
    images = part.images or job.images
    val_images = part.val_images or part.images or job.val_images or job.images
    return Places(Place(data, images), Place(val or data, val_images))
