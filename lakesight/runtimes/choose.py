"""Which runtime runs a file of weights here, and why."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lakesight.errors import UserError
from lakesight.models.base import Precision, RuntimeName
from lakesight.runtimes.base import Network, Runtime, RuntimeOptions
from lakesight.runtimes.engines import Engine, readers
from lakesight.runtimes.onnx_graph import external_files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A runtime, the device it runs on, and the reason in one clause."""

    runtime: RuntimeName
    device: str
    reason: str


def computes(engine: Engine, precision: Precision, stored: Precision = "f32") -> bool:
    """Return whether an engine computes in a precision what is stored in another.

    What is not stored in f32 runs as it is stored, on every engine that reads it.
    """
    return precision == stored or (stored == "f32" and precision in engine.precisions)


def engines(
    file_name: str, precision: Precision = "f32", stored: Precision = "f32"
) -> list[Engine]:
    """Return what can run this file here, the fastest first."""
    able = [one for one in readers(file_name) if computes(one, precision, stored)]
    return [one for one in able if one.here()]


def choose(file_name: str, wanted: RuntimeName = "auto", precision: Precision = "f32") -> Choice:
    """Return the wanted runtime, or for `auto` the fastest that reads the file on this machine.

    Raises UserError, with what to install, when there is none.
    """
    engine = _engine(file_name, wanted, precision)
    reason = engine.reason if wanted == "auto" else "it was asked for"
    return Choice(engine.runtime, engine.device, reason)


def _engine(
    file_name: str, wanted: RuntimeName, precision: Precision, stored: Precision = "f32"
) -> Engine:
    check_reads(file_name, wanted, precision, stored)
    for engine in engines(file_name, precision, stored):
        if engine.fits(wanted):
            return engine
    known = readers(file_name)
    missing = known[-1:] if wanted == "auto" else [one for one in known if one.runtime == wanted]
    advice = " or ".join(dict.fromkeys(one.install for one in missing)) or "convert it to ONNX"
    raise UserError(f"nothing installed here runs {file_name} with runtime {wanted}: {advice}")


def check_reads(
    file_name: str, wanted: RuntimeName, precision: Precision, stored: Precision = "f32"
) -> None:
    """Raise UserError where the wanted runtime can nowhere run the file in this precision."""
    known = readers(file_name)
    if not known:
        return
    fitting = [one for one in known if one.fits(wanted)]
    if not fitting and wanted == "auto":
        raise UserError(
            f"opening {file_name} runs code that is in it, so auto does not: where you trust who "
            f"made it, ask for {_names(known)} by name (--runtime)"
        )
    if not fitting:
        raise UserError(
            f"{wanted} does not read {file_name}; {_names(known)} can. "
            "Choose another runtime, or leave it to auto."
        )
    if not any(computes(one, precision, stored) for one in fitting):
        able = [one for one in known if computes(one, precision, stored)]
        advice = f"{_names(able)} can use {precision}" if able else "choose another precision"
        who = wanted if wanted != "auto" else _names(known)
        raise UserError(f"{who} cannot compute {file_name} in {precision}; {advice}")


def _names(engines: Sequence[Engine]) -> str:
    return " and ".join(dict.fromkeys(engine.runtime for engine in engines))


def uses_gpu(file_name: str, wanted: RuntimeName = "auto", *, here: bool = True) -> bool:
    """Return whether the file would run on the GPU of a machine that has one.

    `here`: with what is installed on this machine; else with everything that could be.
    """
    fitting = [one for one in readers(file_name) if one.fits(wanted)]
    return any(one.can_use_gpu(here=here) for one in fitting)


def open_network(
    path: Path,
    network: Network,
    options: RuntimeOptions,
    wanted: RuntimeName = "auto",
    stored: Precision = "f32",
) -> Runtime:
    """Load a file of weights into the runtime that `choose` picks, and log which and why.

    `stored` is the precision of the file's numbers, `options.precision` that of the arithmetic.

    Raises UserError for what `choose` refuses, and for ONNX tensors outside the file's folder.
    """
    engine = _engine(path.name, wanted, options.precision, stored)
    if path.suffix == ".onnx":
        external_files(path)
    log.info(
        "%s runs on %s (%s, %s): %s",
        path.name,
        engine.runtime,
        engine.device,
        options.precision,
        engine.reason if wanted == "auto" else "it was asked for",
    )
    return engine.open(path, network, options)
