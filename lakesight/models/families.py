"""The model families: of each, one entry says everything that is said of a family.

An installed package adds one by an entry point of the group `lakesight.families`, whose name is the
family's and whose object is a `Family`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.base import Kind, ModelCard, RuntimeName

GROUP = "lakesight.families"

CROPS = ImageView(width=1024, height=1024, interpolation="area")
"""What crops are cut from: that of the built-in pose model, so that both share it."""


@dataclass(frozen=True)
class SharedNetwork:
    """A network that several models of one process look at together, so that it runs once."""

    name: str
    """What tells it from other such networks."""
    open: Callable[[ModelCard, Path, Any, RuntimeName], Any]
    """Open it for the first of them: card, folder of the files, options, runtime."""
    of_card: frozenset[str]
    """Fields of a card by which two of its kind are told apart."""
    of_options: tuple[str, ...]
    """The same of the options."""


@dataclass(frozen=True)
class Family:
    """What is said of a model family."""

    model: str
    """`module:class` of `lakesight.models.base.Model`, imported when a model is built. It has
    `Options`, and is called with card, folder, options, runtime, and the network that it shares."""
    also: Callable[[ModelCard], Mapping[Kind, str]] = lambda _: {}
    """What else the weights of a card can do: kind to the family that does it."""
    view: ImageView | None = None
    """The pixels it wants of a card that is another family's."""
    on_torch: bool = False
    """torch runs its weights, on a GPU where there is one; see `lakesight.models.checkpoints`."""
    exported: bool = False
    """Other engines run what `lakesight export` wrote: see `lakesight.models.exported`."""
    shares: SharedNetwork | None = None
    """The network behind it, where other models may look at that too."""
    checkpoints: Mapping[str, Kind] = field(default_factory=dict)
    """Of transformers: the first of config.json's `architectures` to the kind of model."""
    trains: Callable[[ModelCard], str | None] = lambda _: None
    """The task of `lakesight.evaluation.tasks.TASKS` that a card's weights are trained on for."""

    def load(self) -> Any:
        """Import the class that builds its models."""
        module, _, name = self.model.partition(":")
        return getattr(importlib.import_module(module), name)


def _classifier(card: ModelCard, folder: Path, options: Any, runtime: RuntimeName) -> Any:
    from lakesight.models.classifier import open_classifier
    from lakesight.runtimes.shared import Shared

    return Shared(open_classifier(card, folder, options, runtime))


def _author(card: ModelCard, folder: Path, options: Any, runtime: RuntimeName) -> Any:
    from lakesight.models.author import open_author

    return open_author(card, folder, options, runtime)


def _seer(card: ModelCard, folder: Path, options: Any, runtime: RuntimeName) -> Any:
    from lakesight.models.seer import open_seer

    return open_seer(card, folder, options, runtime)


def _embeds(card: ModelCard) -> dict[Kind, str]:
    """Return that a classifier embeds, where its card names features."""
    return {"embed": "image-embedder"} if "features" in card.contract else {}


def _writes(card: ModelCard) -> dict[Kind, str]:
    """Return that it captions and, with a language model, as every BLIP-2 has, answers."""
    answers: dict[Kind, str] = {"answer": "answerer"} if card.licences.language_model else {}
    return {"caption": "captioner", **answers, "caption_crops": "crop-captioner"}


def _yolo_task(card: ModelCard) -> str:
    """Return what a YOLO was made for."""
    return str(card.contract.get("task", "detect"))


_FILES = frozenset({"source", "sha256"})
CLASSIFIER = SharedNetwork("classifier", _classifier, _FILES | {"view", "contract"}, ("precision",))
AUTHOR = SharedNetwork("author", _author, _FILES, ("device", "dtype", "precision"))
SEER = SharedNetwork("seer", _seer, _FILES, ("device", "dtype"))

FAMILIES: dict[str, Family] = {
    "yolo-onnx": Family("lakesight.models.yolo_onnx:YoloOnnx"),
    "yolo": Family("lakesight.models.yolo.model:Yolo", exported=True, trains=_yolo_task),
    "tf-detection": Family("lakesight.models.tf_detection:TfDetection"),
    "classifier": Family("lakesight.models.classifier:Classifier", also=_embeds, shares=CLASSIFIER),
    "image-embedder": Family("lakesight.models.image_embedder:ImageEmbedder", shares=CLASSIFIER),
    "single-person-pose": Family("lakesight.models.pose:SinglePersonPose"),
    "detr": Family(
        "lakesight.models.detr:Detr",
        on_torch=True,
        checkpoints={
            "DFineForObjectDetection": "detect",
            "RTDetrForObjectDetection": "detect",
            "RTDetrV2ForObjectDetection": "detect",
        },
    ),
    "image-text": Family(
        "lakesight.models.image_text:ImageText",
        on_torch=True,
        shares=SEER,
        checkpoints={
            "CLIPModel": "embed",
            "SiglipModel": "embed",
            "Siglip2Model": "embed",
            "BlipForImageTextRetrieval": "embed",
            "Blip2ForImageTextRetrieval": "embed",
        },
        trains=lambda _: "retrieve",
    ),
    "captioner": Family(
        "lakesight.models.captioner:Captioner",
        also=_writes,
        on_torch=True,
        shares=AUTHOR,
        checkpoints={
            "BlipForConditionalGeneration": "caption",
            "Blip2ForConditionalGeneration": "caption",
        },
        trains=lambda _: "write",
    ),
    "crop-captioner": Family(
        "lakesight.models.crop_captioner:CropCaptioner",
        view=CROPS,
        on_torch=True,
        shares=AUTHOR,
        trains=lambda _: "write",
    ),
    "answerer": Family(
        "lakesight.models.answerer:Answerer",
        also=_writes,
        on_torch=True,
        shares=AUTHOR,
        trains=lambda _: "write",
    ),
}
"""By the name that a card gives."""


def family_of(card: ModelCard) -> Family:
    """Return what is said of a card's family, ours or an installed package's.

    Raises UserError for one that nobody brings.
    """
    if card.family in FAMILIES:
        return FAMILIES[card.family]
    installed = entry_points(group=GROUP)
    if card.family in installed.names:
        return _loaded(installed[card.family])
    raise UserError(
        f"the card of {card.name} names the family {card.family!r}; expected one of "
        f"{', '.join([*FAMILIES, *installed.names])}"
    )


def writes(card: ModelCard) -> bool:
    """Return whether a card is of a checkpoint that writes about pictures."""
    return family_of(card).shares is AUTHOR


def is_checkpoint(card: ModelCard) -> bool:
    """Return whether a card is of a checkpoint that writes, or holds pictures against texts."""
    return family_of(card).shares in (AUTHOR, SEER)


def builder_of(architecture: str, title: str) -> tuple[Kind, str]:
    """Return kind and family of a checkpoint, which `title` names; our families are asked first.

    Raises UserError, with all that are known, for one that no family builds.
    """
    own = _checkpoints(FAMILIES)
    if architecture in own:
        return own[architecture]
    others = _checkpoints({one.name: _loaded(one) for one in entry_points(group=GROUP)})
    if architecture in others:
        return others[architecture]
    raise UserError(
        f"{title} is a {architecture}, which nothing here can run: expected one of "
        f"{', '.join([*own, *others])}"
    )


def _checkpoints(families: Mapping[str, Family]) -> dict[str, tuple[Kind, str]]:
    return {
        architecture: (kind, name)
        for name, one in families.items()
        for architecture, kind in one.checkpoints.items()
    }


def _loaded(entry: EntryPoint) -> Family:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        found = error
    if not isinstance(found, Family):
        raise UserError(
            f"the family {entry.name!r} of an installed package is to be a Family at "
            f"{entry.value}, but got {found!r}: mend or remove that package"
        )
    return found
