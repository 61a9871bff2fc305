"""A BLIP-2 that is exported: what it is, how it is written, whether that is as good."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.exporting.base import Written, first_line
from lakesight.exporting.blip2.compare import Compared, ComparedRetriever, ComparedWriter, Measured
from lakesight.exporting.blip2.convert import BITS, convert, quantise
from lakesight.exporting.formats import Wanted
from lakesight.exporting.judge import ExportError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.pictures import Samples, views_for
from lakesight.models import families
from lakesight.models.artefact import stage
from lakesight.models.base import Artefact, ModelCard, PartsParity
from lakesight.models.blip2 import parts
from lakesight.models.checkpoints import Graphs
from lakesight.models.pretrained import read_config
from lakesight.runtimes.engines import ENGINES, Engine

NUMBERS, CAPTIONS = 1e-3, 0.9
"""What an export in f32 may differ by: a number as a part of its range (rounding in another order
gives 1e-6 to 1e-5 of it, one rounding to bf16 4e-3, other weights 0.1 and more), and the least
share of captions that are the same (where two words are as likely to six digits, either may come).
"""
KNOWN = ("opt", "t5")


@dataclass(frozen=True)
class Blip2Subject:
    """A BLIP-2, opened to be exported."""

    card: ModelCard
    compared: Compared
    samples: Samples
    scratch: Path

    def convert(self, wanted: Wanted, part: Path) -> Written:
        """Write the graphs; those in f32, which any other precision starts from, only once."""
        plan = self.compared.plan()
        whole = self.scratch / "f32"
        if not whole.exists():
            draft = self.scratch / "draft"
            draft.mkdir()
            convert(self.compared.model, plan, draft)
            draft.rename(whole)
        shutil.copytree(whole, part, dirs_exist_ok=True)
        for one in plan:
            if one.speaks and wanted.precision in BITS:
                quantise(part / one.file, BITS[wanted.precision])
        return Written(parts.VISION, parts=True)

    def judge(self, artefact: Artefact, folder: Path) -> tuple[PartsParity | None, dict[str, Any]]:
        """Return the verdict, and by engine all that was measured; None where no engine is here.

        Raises ExportError where an export in f32 differs by more than `NUMBERS` and `CAPTIONS`
        allow, for numbers that are not finite, and for whatever an engine fails with.
        """
        engines = [one for one in ENGINES if one.opens_graph is not None and one.here()]
        found = dict(self._on(engine, artefact, folder) for engine in engines)
        if not found:
            return None, {}
        told = {name: measured.model_dump() for name, measured in found.items()}
        return _worst(len(self.samples.views), list(found.values())), told

    def _on(self, engine: Engine, artefact: Artefact, folder: Path) -> tuple[str, Measured]:
        graphs = Graphs(engine, folder)
        name = f"{artefact.name} on {graphs.place}"
        try:
            measured = self.compared.measure(graphs)
        except ValueError as error:
            raise ExportError(f"{name} does not give what the weights give: {error}") from error
        except Exception as error:  # every engine has its own exceptions
            raise ExportError(f"{name} fails: {first_line(error)}") from error
        if artefact.precision == "f32" and (problem := beyond(measured)):
            raise ExportError(f"{name} does not give what the weights give: {problem}")
        return graphs.place, measured

    def told(self, artefact: Artefact) -> dict[str, Any]:
        """Return what a report says of how it was judged."""
        return {"allowed": {"numbers": NUMBERS, "captions": CAPTIONS}}


def check(card: ModelCard, wanted: Sequence[Wanted]) -> None:
    """Raise UserError for what is no BLIP-2, and for a format or precision that it has not."""
    config = read_config(stage(card))
    if config["model_type"] != "blip-2":
        raise UserError(
            f"{card.name} is of type {config['model_type']!r}: expected a YOLO's model folder or a "
            "BLIP-2, which alone are exported"
        )
    writes = families.writes(card)
    kind = config.get("text_config", {}).get("model_type", "opt")
    if writes and kind not in KNOWN:
        raise UserError(
            f"the language model of {card.name} is a {kind!r}, which is not exported: expected one "
            f"of {', '.join(KNOWN)}"
        )
    for one in wanted:
        _check(one, card, writes=writes)


def open_subject(card: ModelCard, options: ExportOptions, scratch: Path) -> Blip2Subject:
    """Return a card's BLIP-2 with its weights loaded, and what they give."""
    assert card.view is not None
    samples = views_for(options.pictures, card.view, options.num_views)
    compare = ComparedWriter if families.writes(card) else ComparedRetriever
    try:
        compared = compare(card, stage(card), samples.views)
    except ValueError as error:
        raise UserError(f"{card.name} cannot be compared with: {error}") from error
    return Blip2Subject(card, compared, samples, scratch)


def _check(wanted: Wanted, card: ModelCard, *, writes: bool) -> None:
    if not wanted.format.language_precisions:
        raise UserError(f"a BLIP-2 is not written as {wanted.format.name}, only as onnx")
    if wanted.precision not in wanted.format.language_precisions:
        known = ", ".join(wanted.format.language_precisions)
        raise UserError(f"a BLIP-2 is not written in {wanted.precision}, only in {known}")
    if wanted.precision != "f32" and not writes:
        raise UserError(
            f"{card.name} has no language model, whose weights {wanted.name} would make smaller: "
            f"take {wanted.format.name}"
        )


def beyond(measured: Measured) -> str | None:
    """Return what is more than an export in f32 may differ by, in words; None where nothing."""
    for name, part in measured.parts.items():
        if not part.relative <= NUMBERS:
            return f"{name} differ by {part.relative:.3g} of their range (allowed: {NUMBERS})"
    for search, share in measured.same.items():
        if not share >= CAPTIONS:
            example = "; ".join(f"{one!r} is {other!r}" for one, other in measured.others[:1])
            return f"{share:.0%} of captions ({search}) are the same: {example}"
    return None


def _worst(num_views: int, found: Sequence[Measured]) -> PartsParity:
    """Return what the engine that is farthest off gives, part by part."""
    return PartsParity(
        num_views=num_views,
        parts={name: max(one.parts[name].relative for one in found) for name in found[0].parts},
        same={name: min(one.same[name] for one in found) for name in found[0].same},
    )
