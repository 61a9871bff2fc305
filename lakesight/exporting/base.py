"""What a converter gets and gives: one function per format, listed in `formats`.

Shapes: B pictures, H and W of the view in pixels.
"""

import io
import logging
import subprocess
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.base import Image, Precision
from lakesight.models.detection import NmsOptions
from lakesight.models.yolo.folder import Contract

if TYPE_CHECKING:
    from lakesight.models.yolo.network import Inference

INPUT = "images"
"""Name of an exported network's input: `(B, 3, H, W)` float32 in 0..1, RGB."""

_QUIET = threading.RLock()
"""Held by `quietly`: what it takes away is the process's, and two would not give it back."""


@dataclass(frozen=True)
class Source:
    """A YOLO as every converter gets it."""

    module: "Inference"
    """BatchNorm folded, eval, float32, on the CPU: `(B, 3, H, W)` in 0..1 to a tuple of tensors."""
    contract: Contract
    labels: tuple[str, ...]
    view: ImageView
    scratch: Path
    """A folder for intermediate files, removed afterwards."""
    precision: Precision = "f32"
    """What was asked for, one of the format's `precisions`."""
    calibration: Sequence[Image] = ()
    """Views, `(H, W, 3)` uint8 RGB, for whatever measures ranges; empty unless int8 was asked."""

    nms: NmsOptions = field(default_factory=NmsOptions)
    """Thresholds, for formats that have NMS inside."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the tensors in their order, as `yolo.reading.Reader` reads them."""
        return ("output_0", "output_1") if self.contract.task == "segment" else ("output_0",)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return the input's shape for one picture."""
        return 1, 3, self.view.height, self.view.width

    def example(self, batch: int = 1) -> Tensor:
        """Return an input of even noise, the same every time, for whatever traces."""
        generator = torch.Generator().manual_seed(0)
        return torch.rand(batch, *self.shape[1:], generator=generator)

    def calibration_inputs(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield every calibration view as an input of batch 1; UserError where there are none."""
        if not self.calibration:
            raise UserError("int8 needs pictures to take ranges from: name some with --calibration")
        yield from map(as_input, self.calibration)


def as_input(view: Image) -> npt.NDArray[np.float32]:
    """Return one view as `(1, 3, H, W)` in 0..1: what the uint8 runtimes put before a network."""
    return np.ascontiguousarray(view.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


@dataclass(frozen=True)
class Written:
    """What a converter has put into its folder."""

    main: str
    """The file, or folder, that an engine opens, such as `model.xml`; its ending tells which."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Of the input; its values are 0..1 in either."""
    suppressed: bool = False
    """Whether NMS is inside: `onnx_nms.SuppressedReader` reads it."""
    parts: bool = False
    """Whether there are several graphs, `main` the first of them."""


TOOL_S = 1800.0
"""A converter in a process of its own may take so long: a network of size x takes minutes."""


def run_tool(name: str, words: Sequence[str | Path], made: Path, timeout_s: float = TOOL_S) -> None:
    """Run a converter as a process of its own; raise UserError unless it makes its file in time."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{name} was stopped: it was not done after {timeout_s:g} s") from error
    if done.returncode != 0 or not made.exists():
        said = (done.stderr or done.stdout).strip()[-300:]
        raise UserError(f"{name} failed: {said or f'exit status {done.returncode}'}")


def first_line(error: Exception) -> str:
    """Return what an exception says in a line: of somebody else's its type, too."""
    if isinstance(error, UserError):
        return str(error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep a converter's warnings, log lines and progress bars to itself; threads take turns."""
    with _QUIET:
        yield from _quiet()


def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class Converter(Protocol):
    """A function that writes a network into an empty folder; all it leaves there is the export.

    It is asked for the tasks and precisions of its `formats.Format` only. Raises UserError, with
    what to do, for what it cannot convert.
    """

    def __call__(self, source: Source, folder: Path) -> Written:
        """Write the network and say what to open."""
        ...
