"""Names to cards, cards to models."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lakesight import starter
from lakesight.errors import UserError, first_mistake
from lakesight.lake.store import Store
from lakesight.lake.uris import is_s3
from lakesight.models import hub, licences
from lakesight.models.artefact import stage
from lakesight.models.base import (
    FolderSource,
    Frozen,
    Kind,
    Model,
    ModelCard,
    ModelSpec,
    RuntimeName,
)
from lakesight.models.columns import column_of
from lakesight.models.exported import fits, ways
from lakesight.models.families import family_of
from lakesight.models.packaged import PACKAGED
from lakesight.runtimes.choose import uses_gpu

UNSUPPORTED = {
    "albef": "ALBEF is not supported: transformers has no such class, and its weights are "
    "published as pickles alone, which are never opened; BLIP, of the same authors, retrieves by "
    "the same two steps",
}
"""Models that are asked for by name and cannot be had, and why."""


@cache
def built_in() -> dict[str, ModelCard]:
    """Return the cards of the built-in models by name."""
    return {card.name: card for card in (*PACKAGED, *starter.cards())}


def resolve(name: str, kind: Kind | None = None) -> ModelCard:
    """Return the card of a built-in name, a model folder, or a checkpoint (`hub.card_for`).

    A model folder, local or s3://, holds a `card.json`. Some models are of several `kinds`: ask for
    the one that is wanted. Raises UserError for an unknown name, with near ones, and for a model of
    another kind.
    """
    card = built_in().get(name) or _from_folder(name) or hub.card_for(name)
    if card is None:
        raise UserError(_unknown(name))
    return card if kind is None else as_kind(card, kind, name)


def as_kind(card: ModelCard, kind: Kind, name: str | None = None) -> ModelCard:
    """Return the card of a model as one of its kinds; UserError for others, with its `name`."""
    if kind == card.kind:
        return card
    known = kinds(card)
    if kind not in known:
        fitting = ", ".join(one.name for one in built_in().values() if kind in kinds(one)) or "none"
        raise UserError(
            f"expected a model of kind {kind}, but {name or card.name} is of kind "
            f"{' or '.join(known)}. "
            f"Built-in models of kind {kind}: {fitting}."
        )
    other = card.model_copy(update={"kind": kind, "family": known[kind]})
    return other.model_copy(update={"view": family_of(other).view or card.view})


def kinds(card: ModelCard) -> dict[Kind, str]:
    """Return what a model can be asked for as, its own kind first, with the family that does it."""
    return {card.kind: card.family, **family_of(card).also(card)}


def spec(
    name: str,
    kind: Kind | None = None,
    options: dict[str, Any] | None = None,
    runtime: RuntimeName = "auto",
    licences_accepted: Sequence[str] = (),
) -> ModelSpec:
    """Return a model chosen for a job, by its name: see `spec_of`."""
    return spec_of(resolve(name, kind), options, runtime, licences_accepted)


def spec_of(
    card: ModelCard,
    options: dict[str, Any] | None = None,
    runtime: RuntimeName = "auto",
    licences_accepted: Sequence[str] = (),
) -> ModelSpec:
    """Return a model chosen for a job: options and licences checked, nothing loaded.

    The spec holds every option, defaults too: what a run was made with does not change with them.
    """
    if card.view is None:
        raise UserError(
            f"the card of {card.name} says no view: add the pixels that the model wants"
        )
    accepted = licences.check(card, licences_accepted)
    checked = checked_options(card, options or {}).model_dump(mode="json")
    return ModelSpec(card=card, options=checked, runtime=runtime, licences_accepted=accepted)


def essence(spec: ModelSpec) -> dict[str, Any]:
    """Return what of a spec decides its values; a name, a place or a provenance may be reworded.

    Options are filled in, so that one that is added later counts by its default. An export is not
    of the essence: one in f32 gives the values of the weights, another precision is an option.
    """
    parts = {"kind", "family", "sha256", "labels", "view", "contract"}
    return {
        "model": spec.card.model_dump(mode="json", include=parts),
        "options": checked_options(spec.card, dict(spec.options)).model_dump(mode="json"),
        "runtime": spec.runtime,
        "column": spec.column,
    }


@dataclass
class Common:
    """What models have in common that are open together."""

    networks: dict[str, Any] = field(default_factory=dict)
    """By `network`."""
    folders: dict[str, Path] = field(default_factory=dict)
    """Where the files of a card are, checked: once for all kinds and options of a checkpoint."""


def build(spec: ModelSpec, num_threads: int | None = None, common: Common | None = None) -> Model:
    """Return the model itself, its weights checked and loaded.

    `num_threads` bounds the CPU threads of a family that runs on them; it never changes a value.
    `common` is what is open already; what is opened is added.
    """
    common = common or Common()
    card = spec.card
    licences.check(card, spec.licences_accepted)
    family = family_of(card)
    given = dict(spec.options)
    if num_threads is not None and "num_threads" in options_of(card).model_fields:
        given["num_threads"] = num_threads
    options = checked_options(card, given)
    files = card.model_dump_json(include={"name", "source", "sha256"})
    if files not in common.folders:
        common.folders[files] = stage(card)
    parts = (card, common.folders[files], options, spec.runtime)
    shared: list[Any] = []
    key = network(spec)
    if family.shares and key is not None:
        if key not in common.networks:
            common.networks[key] = family.shares.open(*parts)
        shared = [common.networks[key]]
    try:
        model: Model = family.load()(*parts, *shared)
    except ValidationError as error:
        raise UserError(f"the card of {card.name} has a wrong contract: {error}") from error
    model.output = model.output.with_name(column_of(spec))
    return model


def build_all(specs: Sequence[ModelSpec], num_threads: int | None = None) -> list[Model]:
    """Return the models of one process, in order; those that look at one network share it.

    So a picture that is classified and embedded, or captioned and asked about, by the same weights
    goes through them once, if both are given the same arrays (`runtimes.shared`).
    """
    common = Common()
    return [build(spec, num_threads, common) for spec in specs]


def network(spec: ModelSpec) -> str | None:
    """Return what tells the network that a model looks at, where others may look at it too."""
    shares = family_of(spec.card).shares
    if shares is None:
        return None
    options = checked_options(spec.card, dict(spec.options))
    same = [getattr(options, name) for name in shares.of_options]
    card = spec.card.model_dump_json(include=set(shares.of_card))
    return " ".join([shares.name, card, spec.runtime, *map(str, same)])


def can_use_gpu(spec: ModelSpec, *, here: bool = True) -> bool:
    """Return whether the model would run on the GPU of a machine that has one.

    `here`: with what is installed on this machine; else with everything that could be.
    """
    family = family_of(spec.card)
    if family.on_torch:
        exported = spec.options.get("precision", "f32") != "f32"
        on_torch = spec.runtime in ("auto", "torch") and not exported
        return on_torch and spec.options.get("device") != "cpu"
    if family.exported:
        known = ways(spec.card, spec.options.get("precision", "f32"))
        fitting = [one.engine for one in known if fits(one, spec.runtime)]
        return any(engine.can_use_gpu(here=here) for engine in fitting)
    return any(uses_gpu(name, spec.runtime, here=here) for name in spec.card.sha256)


def options_of(card: ModelCard) -> type[Frozen]:
    """Return the options class of a card's family."""
    options: type[Frozen] = family_of(card).load().Options
    return options


class Defaults(BaseModel):
    """What of a card's contract is of every family."""

    options: dict[Kind, dict[str, Any]] = {}


def defaults_of(card: ModelCard) -> dict[str, Any]:
    """Return the options by which a card's own defaults differ from its family's."""
    try:
        return Defaults.model_validate(card.contract).options.get(card.kind, {})
    except ValidationError as error:
        raise UserError(
            f"the card of {card.name} has a wrong contract: {first_mistake(error)}"
        ) from error


def checked_options(card: ModelCard, given: dict[str, Any]) -> Any:
    """Return the family's options, or raise UserError for one that it lacks or refuses."""
    kind = options_of(card)
    try:
        return kind.model_validate(defaults_of(card) | given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"option {'.'.join(map(str, first['loc']))} of {card.name}: {first['msg']}, got "
            f"{first['input']!r}. Options: {', '.join(kind.model_fields)}."
        ) from error


def _from_folder(name: str) -> ModelCard | None:
    """Return the card in a model folder, its source set to that folder; None where it has none."""
    if is_s3(name):
        store, prefix = Store.open(name)
        try:
            return parse_card(store.get(f"{prefix}/card.json".lstrip("/")), name.rstrip("/"))
        except FileNotFoundError:
            return None
    path = Path(name) / "card.json"
    return parse_card(path.read_bytes(), str(path.parent.resolve())) if path.is_file() else None


def parse_card(text: bytes, uri: str) -> ModelCard:
    """Return the card that lies in the folder `uri`, or raise UserError saying what is wrong."""
    try:
        return ModelCard.model_validate({**json.loads(text), "source": FolderSource(uri=uri)})
    except ValidationError as error:
        wrong = first_mistake(error)
    except (ValueError, TypeError) as error:
        wrong = str(error)
    raise UserError(f"{uri}/card.json is not a model card: {wrong}")


def _unknown(name: str) -> str:
    if why := UNSUPPORTED.get(name.lower()):
        return why
    near = difflib.get_close_matches(name, built_in(), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(built_in())}."
    return (
        f"no model is called {name!r}, and it is no folder with a card.json or config.json: {hint}"
    )
