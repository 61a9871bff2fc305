"""Small YOLOs and BLIP-2s that come with Lakesight: they know generated scenes, not photos.

Each folder is a model folder with the settings of its training, and of those that it began with;
`make starter` trains them again.
"""

import json
from pathlib import Path

from lakesight.models.base import ModelCard, PackageSource


def cards() -> tuple[ModelCard, ...]:
    """Return the cards of the folders beside this file, by name."""
    found = sorted(Path(__file__).parent.glob("*/card.json"))
    return tuple(_card(path) for path in found)


def _card(path: Path) -> ModelCard:
    source = PackageSource(
        package="lakesight.starter", folder=path.parent.name, install="pip install lakesight"
    )
    return ModelCard.model_validate({**json.loads(path.read_bytes()), "source": source})
