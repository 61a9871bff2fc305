"""How a training goes, whatever is trained. Written beside the weights."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from lakesight.models.base import Frozen


class LoopSettings(Frozen):
    """How long and how fast to train."""

    epochs: int = Field(default=100, ge=1)
    """Times that the pictures are looked at; the few that fill no whole batch of a worker are left
    out, others in every epoch."""
    batch_size: int = Field(default=16, ge=1)
    """Pictures of one step of one worker."""
    nominal_batch: int = Field(default=64, ge=1)
    """Gradients of so many pictures are added up before the weights move."""
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    """muon: Muon for the matrices of a transformer's layers, AdamW for all else."""
    learning_rate: float = Field(default=0.01, gt=0)
    """At its height, after the warm-up."""
    final_factor: float = Field(default=0.01, gt=0, le=1)
    """The last learning rate as a part of the highest; between them lies half a cosine."""
    momentum: float = Field(default=0.937, ge=0, lt=1)
    """Of SGD; the first beta of AdamW."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Of convolutions and matrices; biases and normalisations have none."""
    warmup_epochs: float = Field(default=3.0, ge=0)
    """In which learning rates rise from 0 (with sgd those of biases fall from a tenth)."""
    patience: int = Field(default=100, ge=1)
    """Training ends early after so many epochs without a better one."""
    precision: Literal["f32", "bf16"] = "f32"
    """Arithmetic of the forward pass; bf16 is faster on GPUs and recent CPUs."""
    ema_decay: float = Field(default=0.9999, ge=0, lt=1)
    """Of the running mean of the weights, which is what is validated and kept."""
    max_gradient: float = Field(default=10.0, gt=0)
    """Gradients with a larger norm, summed over the examples of an update (`nominal_batch`), are
    scaled down to it."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    num_readers: int = Field(default=0, ge=0)
    """Processes that read pictures beside the one that trains."""


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names, such as `augmentation.mosaic`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found
