"""What a server is told to serve: models, indexes, and how much of the machine they may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from lakesight.errors import UserError, first_mistake
from lakesight.media.limits import Limits
from lakesight.models import catalog
from lakesight.models.base import Frozen, Kind, ModelSpec, RuntimeName
from lakesight.online.problems import Problem

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Offer(Frozen):
    """One model that is served, for everything that it can do."""

    model: str
    """A catalog name, a model folder, local or s3://, or hf:OWNER/REPO@REVISION."""
    name: str = Field(pattern=NAME)
    """What requests call it."""
    options: dict[Kind, dict[str, Any]] = Field(default_factory=dict)
    """The options of its family by kind, such as `{detect: {score_threshold: 0.3}}`."""
    runtime: RuntimeName = "auto"
    allow_licence: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """Take a name or a path alone, and name what is not named."""
        if isinstance(given, str):
            given = {"model": given}
        if isinstance(given, Mapping) and "name" not in given and "model" in given:
            last = str(given["model"]).rstrip("/").rpartition("/")[2].partition("@")[0]
            return {**given, "name": last}
        return given


class Serving(Frozen):
    """What a replica serves. All of it can change while it runs, without a request lost."""

    models: tuple[Offer, ...] = ()
    indexes: dict[str, str] = Field(default_factory=dict)
    """Name to folder or s3:// prefix of an index that `lakesight index` published."""
    max_loaded: int = Field(default=8, ge=1)
    """Networks in memory at once; the one that was not asked for the longest makes room."""
    max_batch: int = Field(default=16, ge=1)
    """Pictures that a model sees in one call at most."""
    max_wait_ms: float = Field(default=2.0, ge=0)
    """How long a picture waits for others while a model is at work on a batch."""
    num_threads: int | None = Field(default=None, ge=1)
    """CPU threads of a network; all that the replica may use unless given. Of torch it is what
    the first settings say."""
    num_decoders: int | None = Field(default=None, ge=1)
    """Processes that decode; as many as a network has threads unless given."""
    max_pictures: int = Field(default=64, ge=1)
    """In one request."""
    max_pairs: int = Field(default=1024, ge=1)
    """Pictures times texts that one request may match."""
    max_in_flight: int = Field(default=128, ge=1)
    """Pictures that are decoded or seen at once of requests for the same networks, and four times
    as many in all; others wait as the bytes that they are."""
    limits: Limits = Limits()
    """Of one picture."""
    refresh_s: float = Field(default=10.0, ge=0)
    """How often to look whether an index or a model was published anew; 0 for never."""
    generation: int = 0
    """Raise it to have everything looked up again."""

    @model_validator(mode="after")
    def _names_are_new(self) -> "Serving":
        names = [offer.name for offer in self.models]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two models are called {twice.pop()!r}: name one of them otherwise")
        return self


def told(given: Mapping[str, Any]) -> Serving:
    """Return settings; those of the YAML file that `file` names come first, and change with it.

    `defaults` hold where neither says anything. Raises UserError for a file that cannot be read,
    and for what is no setting.
    """
    settings = dict(given)
    file, defaults = settings.pop("file", None), settings.pop("defaults", {})
    in_file = {} if file is None else _of_file(Path(file))
    settings = {**defaults, **in_file, **settings}
    try:
        return Serving.model_validate(settings)
    except ValidationError as error:
        raise UserError(
            f"{file or 'what is to be served'}: {first_mistake(error, Serving.model_fields)}"
        ) from error


def _of_file(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no mapping of settings")
    return found


@dataclass(frozen=True)
class Served:
    """A model as requests know it, looked up: nothing is loaded."""

    name: str
    specs: Mapping[Kind, ModelSpec]
    """What it can be asked for, its own kind first."""

    @property
    def main(self) -> ModelSpec:
        """The model as its card says it."""
        return next(iter(self.specs.values()))


def look_up(offer: Offer) -> Served:
    """Return the model of an offer, for every kind that it can be asked for.

    Raises UserError for an unknown model or option, and for a licence that is not allowed.
    """
    known = catalog.kinds(catalog.resolve(offer.model))
    if odd := offer.options.keys() - known.keys():
        raise UserError(f"{offer.name} cannot {odd.pop()}: it can {', '.join(known)}")
    given = (offer.runtime, offer.allow_licence)
    return Served(
        offer.name,
        {kind: catalog.spec(offer.model, kind, offer.options.get(kind), *given) for kind in known},
    )


def varied(spec: ModelSpec, options: Mapping[str, Any]) -> ModelSpec:
    """Return a model with other options; Problem where they do not fit together."""
    if not options:
        return spec
    try:
        checked = catalog.checked_options(spec.card, {**spec.options, **options})
    except UserError as error:
        raise Problem("invalid", str(error)) from error
    return spec.model_copy(update={"options": checked.model_dump(mode="json")})
