"""What a training of BLIP-2 is to start from: checked by its card and files, nothing loaded yet."""

from pathlib import Path
from typing import Any, NamedTuple

from lakesight.errors import UserError
from lakesight.models import catalog, hub, licences
from lakesight.models.artefact import stage
from lakesight.models.base import ModelCard
from lakesight.models.pretrained import read_config
from lakesight.training.blip2.job import UNKNOWN, FirstStageJob, SecondStageJob
from lakesight.training.job import Job

LANGUAGES = {"opt": "OPTForCausalLM", "t5": "T5ForConditionalGeneration"}
"""By `model_type` of config.json, the class of transformers."""
TOWERS = ("image-text", "captioner")
"""Families of BLIP-2, by its stages."""
README = "README.md"
NO_LICENCE = frozenset({UNKNOWN, "other"})
"""What a README says that states none."""


class Origin(NamedTuple):
    """Weights to start from."""

    card: ModelCard
    folder: Path
    """Their files, each checked by its digest."""


class Language(NamedTuple):
    """A language model to put behind a first stage."""

    folder: Path
    kind: str
    """One of `LANGUAGES`."""
    licence: str


class SecondOrigin(NamedTuple):
    """What a second stage starts from."""

    weights: Origin
    language: Language | None
    """None where the weights have one, or it is a new one."""

    @property
    def is_second_stage(self) -> bool:
        """Return whether the weights are a second stage already."""
        return self.weights.card.family == "captioner"


class FirstOrigin(NamedTuple):
    """What a first stage starts from."""

    weights: Origin | None
    """None for nothing."""
    tower: Origin | None
    """Whose vision tower is taken; None for that of the weights."""


def first_origin(job: FirstStageJob) -> FirstOrigin:
    """Return what a first stage starts from.

    Raises UserError for what is none, for a text longer than it reads, and where what starts from
    nothing would never learn.
    """
    tower = None if job.tower is None else _origin(job, job.tower, TOWERS, "a BLIP-2")
    return FirstOrigin(_first_stage(job), tower)


def _first_stage(job: FirstStageJob) -> Origin | None:
    if job.weights is None:
        if job.freeze_vision and job.tower is None:
            raise UserError(
                "the vision tower starts from nothing, and would stay so: say --no-freeze-vision, "
                "or name what to start from with --weights or --tower"
            )
        return None
    origin = _origin(job, job.weights, ("image-text",), "a first stage of BLIP-2")
    qformer = blip2_config(origin.folder).qformer_config
    if not qformer.use_qformer_text_input:
        raise UserError(f"the Q-Former of {job.weights} reads no text: expected a first stage")
    if job.max_tokens > (most := qformer.max_position_embeddings):
        raise UserError(
            f"max_tokens is {job.max_tokens}, and the Q-Former of {job.weights} reads {most} "
            f"tokens: say --max-tokens {most}"
        )
    return origin


def second_origin(job: SecondStageJob) -> SecondOrigin:
    """Return what a second stage starts from, with the language model that it is given.

    Raises UserError where that is no BLIP-2, where it would have two language models, for one whose
    licence nobody accepted, and where one that starts from nothing would never learn.
    """
    if job.weights is None:
        raise UserError("the second stage begins with a first one: train that by --task retrieve")
    origin = _origin(job, job.weights, TOWERS, "a BLIP-2")
    if origin.card.family == "captioner":
        if job.language_model is not None:
            raise UserError(
                f"{job.weights} is a second stage and has its language model: leave "
                "--language-model out, or name a first stage with --weights"
            )
        return SecondOrigin(origin, None)
    if job.language_model is not None:
        return SecondOrigin(origin, _language(job, Path(job.language_model)))
    if job.freeze_language:
        raise UserError(
            "the language model starts from nothing, and would stay so: say --no-freeze-language, "
            "or name one with --language-model"
        )
    return SecondOrigin(origin, None)


def _origin(job: Job, weights: str, families: tuple[str, ...], wanted: str) -> Origin:
    card = catalog.spec(weights, licences_accepted=job.allow_licence).card
    if card.family not in families:
        raise UserError(f"{weights} is of the family {card.family}: expected {wanted}")
    folder = stage(card)
    if (kind := read_config(folder)["model_type"]) != "blip-2":
        raise UserError(f"{weights} is of type {kind!r}: expected {wanted}")
    return Origin(card, folder)


def blip2_config(folder: Path) -> Any:
    """Return the `Blip2Config` of a checkpoint."""
    import transformers

    kind: Any = transformers.Blip2Config
    return kind.from_pretrained(folder, local_files_only=True)


def _language(job: SecondStageJob, folder: Path) -> Language:
    kind = read_config(folder)["model_type"]
    if kind not in LANGUAGES:
        raise UserError(
            f"{folder} is of type {kind!r}: a language model is one of {', '.join(LANGUAGES)}"
        )
    licence = job.language_licence
    if licence == UNKNOWN:
        readme = folder / README
        stated = hub.licence_in(readme.read_bytes()) if readme.is_file() else UNKNOWN
        licence = hub.LANGUAGE_MODELS.get(kind, UNKNOWN) if stated in NO_LICENCE else stated
    licences.require(folder.name, "language model", licence, job.allow_licence)
    return Language(folder, kind, licence)
