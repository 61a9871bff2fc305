"""What a training of BLIP-2 is told."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from lakesight.models.base import Frozen
from lakesight.training.blip2.settings import FirstStageSettings, SecondStageSettings
from lakesight.training.blip2.told import SceneCaptions
from lakesight.training.job import Job

UNKNOWN = "unknown"
"""A licence that nobody stated."""


class Transformer(Frozen):
    """The sizes of a transformer that starts from nothing."""

    width: int = Field(default=192, ge=8)
    """Units of a state; a multiple of `heads`."""
    layers: int = Field(default=6, ge=1)
    """Layers, each of attention and a network four times as wide."""
    heads: int = Field(default=6, ge=1)
    """Heads of its attention."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "Transformer":
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class FirstStageSize(Frozen):
    """A first stage that starts from nothing; the default has about 6 million weights."""

    image_size: int = Field(default=224, ge=16)
    """Side of the square that a picture is fitted into, in pixels; a multiple of `patch_size`."""
    patch_size: int = Field(default=16, ge=4)
    """Side of a patch, in pixels."""
    vision: Transformer = Transformer()
    """The tower that sees."""
    qformer: Transformer = Transformer(layers=4)
    """What asks it, and reads texts."""
    cross_every: int = Field(default=2, ge=1)
    """Every so many layers of the Q-Former look at the picture."""
    num_queries: int = Field(default=16, ge=1)
    """Vectors of a picture."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the Q-Former's states, and of its attention, that is left out in training."""
    shared: int = Field(default=128, ge=2)
    """Units of the space that pictures and texts share."""
    vocabulary: int = Field(default=2000, ge=40)
    """The most word pieces of a tokenizer made of the texts."""

    @model_validator(mode="after")
    def _patches_divide(self) -> "FirstStageSize":
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patch_size ({self.patch_size}) must divide image_size ({self.image_size})"
            )
        return self


class FirstStageJob(FirstStageSettings, Job):
    r"""Train BLIP-2's first stage on pictures with captions: vectors to search by, and matching.

    Run the same command again to go on after an end; it does nothing where it is done.

    Examples:
      lakesight scenes scenes/
      lakesight train scenes/ finder/ --task retrieve --no-freeze-vision --epochs 20
      lakesight train captions.json finder/ --task retrieve --val captions_val.json \
          --weights hf:OWNER/BLIP2@COMMIT
    """

    data: str
    """Scenes, COCO captions .json, or a .json list of images with captions."""
    weights: str | None = None
    """A `Blip2ForImageTextRetrieval` to start from: model folder, catalog name or hf:…@COMMIT."""
    tower: str | None = None
    """A BLIP-2 of either stage whose vision tower is taken in place of the weights' own, or of one
    that starts from nothing; of the same sizes."""
    task: Literal["retrieve"] = "retrieve"
    """What for."""
    caption_column: SceneCaptions = "captions"
    """Of generated scenes: short captions, one that tells all that is to be seen, or all of them.
    """
    size: FirstStageSize = FirstStageSize()
    """Of a network that starts from nothing; with `weights`, that of the weights."""


class LanguageSize(Frozen):
    """A language model (OPT's architecture) that starts from nothing."""

    transformer: Transformer = Transformer(width=256, layers=4, heads=8)
    """What writes."""
    context: int = Field(default=128, ge=16)
    """The most tokens of a picture's vectors, a prompt and an answer together."""
    vocabulary: int = Field(default=2000, ge=40)
    """The most word pieces of a tokenizer made of the texts."""


class SecondStageJob(SecondStageSettings, Job):
    r"""Train BLIP-2's second stage on pictures with captions or questions: what writes about them.

    Also with longer descriptions, and with what lies where (layouts).

    Run the same command again to go on after an end; it does nothing where it is done.

    Examples:
      lakesight train scenes/ writer/ --task write --weights finder/ --no-freeze-language
      lakesight train captions.json writer/ --task write --weights finder/ --questions.share 0 \
          --val captions_val.json --language-model flan-t5/
      lakesight train captions.json writer/ --task write --val captions_val.json \
          --questions.data vqa.json --questions.val vqa_val.json --weights hf:OWNER/BLIP2@COMMIT
    """

    data: str
    """Scenes, COCO captions .json, or a .json list of images with captions, questions or
    regions."""
    weights: str | None = None
    """A first stage, to which a language model is added, or a second one, which is trained further:
    model folder, catalog name or hf:…@COMMIT."""
    task: Literal["write"] = "write"
    """What for."""
    caption_column: SceneCaptions = "captions"
    """Of generated scenes: short captions, one that tells all that is to be seen, or all of them.
    """
    language_model: str | None = None
    """Folder of a checkpoint of OPT or T5 that a first stage is given; a new one unless given."""
    language_licence: str = UNKNOWN
    """SPDX id of that language model; what its README states unless given, else what is known of
    all of its type."""
    size: LanguageSize = LanguageSize()
    """Of a language model that starts from nothing."""

    @model_validator(mode="before")
    @classmethod
    def _no_licence_of_nothing(cls, given: Any) -> Any:
        """Leave out the licence of no language model: trainings wrote one down before."""
        if isinstance(given, Mapping) and given.get("language_model") is None:
            return {name: one for name, one in given.items() if name != "language_licence"}
        return given
