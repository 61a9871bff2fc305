"""How BLIP-2 is trained: beside the loop's settings, what learns and what counts."""

from typing import Literal, Self

from pydantic import Field, model_validator

from lakesight.models.base import Frozen
from lakesight.models.prompts import TEMPLATE, Template, Words
from lakesight.training.blip2.first_stage import FirstStageWeights
from lakesight.training.blip2.mirrors import Mirrors
from lakesight.training.blip2.views import Keep
from lakesight.training.settings import LoopSettings


class Blip2Settings(LoopSettings):
    """What both stages share; by default the rate, the decay and what is frozen are the paper's."""

    optimizer: Literal["sgd", "adamw", "muon"] = "adamw"
    """muon: Muon for the matrices of transformers' layers, AdamW for all else; what starts from
    nothing learns in fewer steps by it."""
    learning_rate: float = Field(default=1e-4, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0)
    freeze_vision: bool = True
    """Keep the vision tower as it is, as in the paper. One that starts from nothing must learn."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate from each layer of a vision tower that learns to the one before
    it: what is near the pixels moves least."""
    positions: float | None = Field(default=None, gt=0)
    """Begin with sines and cosines of where each patch is, so many times as large, in place of the
    vision tower's own position embeddings: for a tower whose patches do not tell where they are."""
    max_tokens: int = Field(default=32, ge=4)
    """Longer texts are cut."""
    keep: Keep = "nothing"
    """What to keep of every picture in a temporary file of a worker, so that it is not read again
    in every epoch. views: the pixels that the model sees, height x width x 3 bytes. features: what
    a frozen vision tower sees, so that it does not look again either, patches x width x 2 bytes."""
    mirrors: Mirrors = Mirrors()
    """How often a picture is mirrored."""

    @model_validator(mode="after")
    def _kept_features_stay(self) -> Self:
        if self.positions and self.freeze_vision:
            raise ValueError("positions are learned with the vision tower: say --no-freeze-vision")
        if self.keep == "features" and not self.freeze_vision:
            raise ValueError("keep=features is for a frozen vision tower: keep views instead")
        if self.keep == "features" and self.mirrors.any:
            raise ValueError("keep=features is of pictures as they are: mirror none, or keep views")
        return self


class FirstStageSettings(Blip2Settings):
    """The first stage: the Q-Former learns to see what a text says."""

    loss: FirstStageWeights = FirstStageWeights()

    @model_validator(mode="after")
    def _regions_teach_the_tower(self) -> Self:
        if self.loss.regions and self.freeze_vision:
            raise ValueError("loss.regions teaches the vision tower: say --no-freeze-vision")
        if not self.loss.text and not self.loss.regions:
            raise ValueError("every loss is 0: nothing is learned")
        return self


class Part(Frozen):
    """One kind of text in a training of the second stage."""

    share: float = Field(default=1.0, ge=0)
    """How often a text is of this kind, beside the others'; 0 leaves it out. Where a picture has no
    more texts of a kind, its others take their place."""
    weight: float = Field(default=1.0, gt=0)
    """What its loss counts."""
    data: str | None = None
    """Where such texts are, unless in what all is trained on."""
    val: str | None = None
    """Others to validate on; unless given, the split `val` of its own data, or where it has none of
    its own, what all is validated on."""
    images: str | None = None
    """Folder of the pictures that its .json names; that of all unless given."""
    val_images: str | None = None
    """The same for its `val`."""


class CaptionPart(Part):
    """Captions."""

    prompt: Words | None = None
    """What is said before them, such as "a photo of"; nothing unless given."""


class OptionalPart(Part):
    """A kind of text that is left out unless it is given a share."""

    share: float = Field(default=0.0, ge=0)
    """How often a text is of this kind, beside the others'; 0 leaves it out."""


class DescriptionPart(OptionalPart):
    """Longer captions."""

    prompt: Words | None = "describe in detail:"
    """What is said before them; null for nothing."""


class LayoutPart(OptionalPart):
    """What lies where, of pictures whose regions are described."""

    prompt: Words = "what is where:"
    """What is said before them."""


class QuestionPart(Part):
    """Questions and their answers."""

    template: Template = TEMPLATE
    """The prompt; {} is the question."""


class RegionPart(Frozen):
    """What patches learn of the regions that they lie in: see the first stage's `loss.regions`."""

    weight: float = Field(default=0.0, ge=0)
    """What its loss counts, beside those of the texts; 0 leaves it out."""
    present: float = Field(default=4.0, gt=0)
    """What a word that is true of a patch counts there, beside one that is not: few are."""


PartName = Literal["captions", "descriptions", "layouts", "questions", "relations"]
PARTS: tuple[PartName, ...] = ("captions", "descriptions", "layouts", "questions", "relations")
OF_REGIONS: frozenset[PartName] = frozenset({"layouts", "relations"})
"""What is made of regions; it is learned beside another kind."""


class SecondStageSettings(Blip2Settings):
    """The second stage: a language model learns to say what the Q-Former sees."""

    freeze_language: bool = True
    """Keep the language model as it is, as in the paper. One that starts from nothing must
    learn."""
    lora: int = Field(default=0, ge=0)
    """Rank of the matrices that learn beside those of a language model that is kept; 0: none."""
    captions: CaptionPart = CaptionPart()
    """Captions, their share and weight."""
    descriptions: DescriptionPart = DescriptionPart()
    """Longer captions, their share and weight."""
    layouts: LayoutPart = LayoutPart()
    """What lies where, as a text; its share and weight."""
    questions: QuestionPart = QuestionPart()
    """Questions and answers, their share and weight."""
    relations: OptionalPart = OptionalPart()
    """Where one region lies from another, in the template of questions; its share and weight."""
    regions: RegionPart = RegionPart()
    """The words of regions, for a vision tower that learns on."""
    texts_per_picture: int = Field(default=1, ge=1)
    """So many different texts are learned about a picture at a time, which is looked at once for
    all of them; fewer where there are fewer."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of the states that is left out while the Q-Former and the language model learn; what
    each of them has of its own unless given."""
    judged: int = Field(default=500, ge=1)
    """At most so many pictures of those to validate on are written about after an epoch."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not set(self.parts) - OF_REGIONS:
            raise ValueError(
                "captions.share, descriptions.share and questions.share are 0: nothing is learned, "
                "or layouts and relations alone, which are learned beside one of those"
            )
        prompts = list(self.prompts.values())
        if len(prompts) > len(set(prompts)):
            raise ValueError(
                "captions, descriptions and layouts need prompts of their own, or nobody could say "
                f"which of them is wanted: got {', '.join(map(repr, prompts))}"
            )
        if OF_REGIONS & set(self.parts) and self.mirrors.any:
            raise ValueError("layouts and relations say what is left and right: mirror nothing")
        if self.regions.weight and self.freeze_vision:
            raise ValueError("regions.weight teaches the vision tower: say --no-freeze-vision")
        if self.lora and not self.freeze_language:
            raise ValueError("lora is for a language model that is kept: leave freeze_language on")
        return self

    @property
    def parts(self) -> dict[PartName, Part]:
        """The kinds of text that are learned."""
        return {name: part for name in PARTS if (part := getattr(self, name)).share}

    @property
    def prompts(self) -> dict[PartName, str | None]:
        """What is said before each kind of text that is learned, but questions."""
        kinds = (CaptionPart, DescriptionPart, LayoutPart)
        return {name: one.prompt for name, one in self.parts.items() if isinstance(one, kinds)}

    @property
    def unasked(self) -> Literal["captions", "descriptions"] | None:
        """What is written where nobody says a prompt: what has none, else captions."""
        kinds: tuple[Literal["captions", "descriptions"], ...] = ("captions", "descriptions")
        written = [name for name in kinds if name in self.parts]
        without = [name for name in written if self.prompts[name] is None]
        return next(iter(without + written), None)
