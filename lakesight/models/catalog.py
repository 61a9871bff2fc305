"""Names to cards, cards to models."""

import difflib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.models import licences
from lakesight.models.artefact import stage
from lakesight.models.base import FolderSource, Kind, Model, ModelCard, ModelSpec, RuntimeName
from lakesight.models.packaged import PACKAGED

FAMILIES: dict[str, str] = {
    "yolo-onnx": "lakesight.models.yolo_onnx:YoloOnnx",
    "tf-detection": "lakesight.models.tf_detection:TfDetection",
    "classifier": "lakesight.models.classifier:Classifier",
    "image-embedder": "lakesight.models.image_embedder:ImageEmbedder",
    "single-person-pose": "lakesight.models.pose:SinglePersonPose",
    "detr": "lakesight.models.detr:Detr",
    "image-text": "lakesight.models.image_text:ImageText",
    "captioner": "lakesight.models.captioner:Captioner",
}
"""Family name to `module:class`, imported when a model is built."""

CARDS: dict[str, ModelCard] = {card.name: card for card in PACKAGED}
"""The built-in models by name."""


def resolve(name: str, kind: Kind | None = None) -> ModelCard:
    """Return the card of a built-in name, or of a model folder (local or s3://) with `card.json`.

    A classifier whose card names its features is an embedder too: ask with kind `embed`. Raises
    UserError for an unknown name, with near ones, and for a model of another kind.
    """
    card = CARDS.get(name) or _from_folder(name)
    if kind == "embed" and card.family == "classifier" and "features" in card.contract:
        return card.model_copy(update={"kind": "embed", "family": "image-embedder"})
    if kind is not None and card.kind != kind:
        fitting = ", ".join(other for other in CARDS if CARDS[other].kind == kind) or "none"
        raise UserError(
            f"expected a model to {kind}, but {name} is one to {card.kind}. "
            f"Built-in models to {kind}: {fitting}."
        )
    return card


def spec(
    name: str,
    kind: Kind | None = None,
    options: dict[str, Any] | None = None,
    runtime: RuntimeName = "auto",
    licences_accepted: Sequence[str] = (),
) -> ModelSpec:
    """Return a model chosen for a job: kind, options and licences checked, nothing loaded."""
    card = resolve(name, kind)
    accepted = licences.check(card, licences_accepted)
    checked = _options(card, options or {}).model_dump(mode="json")
    return ModelSpec(card=card, options=checked, runtime=runtime, licences_accepted=accepted)


def build(spec: ModelSpec, num_threads: int | None = None) -> Model:
    """Return the model itself, its weights checked and loaded.

    `num_threads` bounds the CPU threads of a family that runs on them; it never changes a value.
    """
    licences.check(spec.card, spec.licences_accepted)
    family = _family(spec.card)
    given = dict(spec.options)
    if num_threads is not None and "num_threads" in family.Options.model_fields:
        given["num_threads"] = num_threads
    options = _options(spec.card, given)
    model: Model = family(spec.card, stage(spec.card), options, spec.runtime)
    if spec.column is not None:
        model.output = model.output.with_name(spec.column)
    return model


def _family(card: ModelCard) -> Any:
    """Return the class that builds a card's model."""
    if card.family not in FAMILIES:
        raise UserError(
            f"the card of {card.name} names the family {card.family!r}; "
            f"expected one of {', '.join(FAMILIES)}"
        )
    module, _, name = FAMILIES[card.family].partition(":")
    return getattr(importlib.import_module(module), name)


def _options(card: ModelCard, given: dict[str, Any]) -> Any:
    """Return the family's options, or raise UserError for one that it lacks or refuses."""
    kind = _family(card).Options
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"option {'.'.join(map(str, first['loc']))} of {card.name}: {first['msg']}, got "
            f"{first['input']!r}. Options: {', '.join(kind.model_fields)}."
        ) from error


def _from_folder(name: str) -> ModelCard:
    """Return the card in a model folder, its source set to that folder."""
    if name.startswith("s3://"):
        raise NotImplementedError
    path = Path(name) / "card.json"
    if not path.is_file():
        raise UserError(_unknown(name))
    return parse_card(path.read_bytes(), str(Path(name).resolve()))


def parse_card(text: bytes, uri: str) -> ModelCard:
    """Return the card that lies in the folder `uri`, or raise UserError saying what is wrong."""
    try:
        fields = json.loads(text)
        return ModelCard.model_validate({**fields, "source": FolderSource(uri=uri)})
    except (ValueError, TypeError) as error:
        first = (
            error.errors()[0]
            if isinstance(error, ValidationError)
            else {"loc": (), "msg": str(error)}
        )
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{uri}/card.json is not a model card: {place} {first['msg']}") from error


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, CARDS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(CARDS)}."
    return f"no model is called {name!r}, and it is no folder with a card.json: {hint}"
