"""How BLIP-2 is trained: beside the loop's settings, what learns and what counts."""

from typing import Literal

from pydantic import Field

from lakesight.training.blip2.first_stage import FirstStageWeights
from lakesight.training.settings import LoopSettings


class FirstStageSettings(LoopSettings):
    """The first stage: the Q-Former learns to see what a text says."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-4, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0)
    freeze_vision: bool = True
    """Keep the vision tower as it is, as in the paper. One that starts from nothing must learn."""
    max_tokens: int = Field(default=32, ge=4)
    """Longer texts are cut."""
    loss: FirstStageWeights = FirstStageWeights()
