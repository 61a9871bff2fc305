"""A model folder, opened for the converters."""

from pathlib import Path

from lakesight.errors import UserError
from lakesight.exporting.base import Source
from lakesight.models.artefact import read_labels, stage
from lakesight.models.base import ModelCard
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.models.yolo.network import check_size, for_inference, load_network

SAME = ("sha256", "view", "labels", "contract")
"""What a copy has in common with its model."""


def check_yolo(card: ModelCard) -> Contract:
    """Return what a YOLO's card says of its weights; raise UserError for any other card."""
    if card.family != "yolo":
        raise UserError(
            f"{card.name} is of the family {card.family!r}; expected a YOLO's model folder, as "
            "`lakesight train` or `lakesight models import FILE.pt` writes it"
        )
    if card.view is None:
        raise UserError(f"the card of {card.name} says no view: add the pixels that it wants")
    check_size(card.view.height, card.view.width)
    return Contract.model_validate(card.contract)


def open_source(card: ModelCard, scratch: Path) -> Source:
    """Return a card's network with its weights checked, loaded and folded, in f32.

    `scratch` is a folder for intermediate files. Raises UserError for a card of another family.
    """
    contract = check_yolo(card)
    assert card.view is not None
    folder = stage(card)
    return Source(
        module=for_inference(load_network(contract, folder / WEIGHTS)),
        contract=contract,
        labels=read_labels(card, folder),
        view=card.view,
        scratch=scratch,
    )


def check_same(card: ModelCard, there: ModelCard, where: str) -> None:
    """Raise UserError unless the card there is that of the same network, labels and view."""
    differs = [name for name in SAME if getattr(card, name) != getattr(there, name)]
    if differs:
        what = "weights" if "sha256" in differs else " and ".join(differs)
        raise UserError(f"{where} holds other {what} ({there.name}): give another OUTPUT")
