"""The runtime protocol: uint8 pictures in, named tensors out, whatever library does the work."""

import os
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lakesight.errors import UserError
from lakesight.models.base import Frozen, Image, Precision, RuntimeName

Device = Literal["cpu", "cuda"]

Tensors = dict[str, npt.NDArray[Any]]
"""Outputs by tensor name, stacked over the batch: the first axis is the picture."""


class CompiledElsewhereError(UserError):
    """A file that was compiled for another machine or library: another way may run here."""


class Network(Frozen):
    """How pixels go into a file of weights, and which tensors come out of it."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    """Of the file's own input; a runtime always takes `(height, width, 3)`."""
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] | None = None
    """Subtracted, in units of 0..255 and in the order of `channels`."""
    scale: tuple[float, float, float] | None = None
    """Divided by after `mean`. With neither, pixels enter as the file declares its input."""
    outputs: tuple[str, ...] = ()
    """Tensor names; an inner tensor cuts the graph there. Empty: every output of the file."""
    features: str | None = None
    """Adds the output `features`: a tensor name, or `penultimate`, what the last fully connected
    layer reads."""


class RuntimeOptions(Frozen):
    """How to run a network; the options of every family that runs one start with these."""

    precision: Literal["f32", "bf16", "f16", "int8"] = "f32"
    """Arithmetic inside the network: f32, bf16 (faster on recent CPUs, about 3 digits), or f16 and
    int8 for models that were exported so (`lakesight export`)."""
    num_threads: int | None = Field(default=None, ge=1, exclude=True)
    """CPU threads; all that this process may use unless given. Never changes a value."""


class Runtime(Protocol):
    """A loaded network. `infer` may be called from several threads at once."""

    name: RuntimeName
    device: str
    precision: Precision

    def infer(self, images: Sequence[Image]) -> Tensors:
        """Return every output for `(H, W, 3)` uint8 pictures: `(len(images), ...)` each.

        The values of one picture do not depend on its neighbours.
        """
        ...


def place(runtime: Runtime) -> str:
    """Return the runtime and its device in words."""
    return f"{runtime.name} on {runtime.device}"


def usable_cpus() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_input(image: Image, network: Network) -> npt.NDArray[np.float32]:
    """Return one picture as a file's own input, a batch of 1: for engines whose graph is fixed."""
    pixels = image[..., ::-1] if network.channels == "bgr" else image
    values = pixels[None].astype(np.float32)
    if network.mean is not None:
        values -= np.array(network.mean, np.float32)
    if network.scale is not None:
        values /= np.array(network.scale, np.float32)
    return (
        np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if network.layout == "NCHW" else values
    )


def check_images(images: Sequence[Image], network: Network) -> None:
    """Raise ValueError unless every picture is `(height, width, 3)` uint8 of the network's size."""
    wanted = (network.height, network.width, 3)
    for image in images:
        if image.shape != wanted or image.dtype != np.uint8:
            raise ValueError(f"expected {wanted} uint8, got {image.shape} {image.dtype}")


def check_outputs(wanted: Sequence[str], known: Sequence[str], file_name: str) -> None:
    """Raise UserError where a card asks for a tensor that the file does not have."""
    missing = [name for name in wanted if name not in known]
    if missing:
        raise UserError(
            f"{file_name} has no tensor {missing[0]!r}; it has {', '.join(sorted(known)[:8])} … "
            "Correct `contract` in the model's card."
        )
