"""A YOLO as a model folder: `model.safetensors` and `card.json`, the card written last."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lakesight.errors import UserError
from lakesight.files import write_whole
from lakesight.media.view import ImageView
from lakesight.models.artefact import sha256_of
from lakesight.models.base import FolderSource, Licences, ModelCard
from lakesight.models.yolo.architecture import Architecture

if TYPE_CHECKING:  # a network that another engine runs needs no torch
    from torch import Tensor

WEIGHTS = "model.safetensors"
CARD = "card.json"


class Contract(Architecture):
    """What a card of the family `yolo` says of its weights."""

    keypoints: tuple[str, ...] | None = None
    """Names of the keypoints, where they are known; pose only."""


def view_of(architecture: Architecture, side: int) -> ImageView:
    """Return the pixels that a network wants: the whole picture, or its middle to classify it.

    `side` in pixels, a multiple of 32; else UserError.
    """
    if side % 32:
        raise UserError(f"expected a size that 32 divides, got {side}: {-(-side // 32) * 32} is")
    return ImageView(
        width=side, height=side, fit="crop" if architecture.task == "classify" else "letterbox"
    )


def save(
    folder: Path,
    tensors: "Mapping[str, Tensor]",
    contract: Contract,
    *,
    name: str,
    labels: tuple[str, ...],
    view: ImageView,
    licences: Licences,
    provenance: str,
) -> ModelCard:
    """Write weights and card into a new or empty folder, and return the card.

    Tensors are written in the dtype that they have. Raises UserError where the folder holds
    something, or the labels are not as many as the classes.
    """
    from safetensors.torch import save as as_bytes

    if len(labels) != contract.num_classes:
        raise UserError(
            f"the network tells {contract.num_classes} classes, but {len(labels)} labels were "
            "given: give one a class"
        )
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    (folder / WEIGHTS).write_bytes(as_bytes(whole))  # `save_file` keeps it from other users
    card = ModelCard(
        name=name,
        kind="classify" if contract.task == "classify" else "detect",
        family="yolo",
        source=FolderSource(uri=str(folder)),
        sha256={WEIGHTS: sha256_of(folder / WEIGHTS)},
        licences=licences,
        labels=labels,
        view=view,
        contract=contract.model_dump(mode="json"),
        provenance=provenance,
    )
    write_card(folder, card)
    return card


def write_card(folder: Path, card: ModelCard) -> None:
    """Write `card.json`, whole or not at all; its source is the folder it lies in."""
    text = card.model_dump_json(indent=2, exclude={"source"})
    write_whole(folder / CARD, text + "\n")
