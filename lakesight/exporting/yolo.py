"""A YOLO that is exported: how it is written, and what it is held against."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lakesight.exporting import pictures
from lakesight.exporting.base import Source, Written
from lakesight.exporting.checks import check_labels
from lakesight.exporting.formats import Wanted
from lakesight.exporting.judge import Judge
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.pictures import CALIBRATION_SEED, VIEWS_SEED, Samples
from lakesight.exporting.source import open_source
from lakesight.models.base import Artefact, Image, ModelCard, Parity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class YoloSubject:
    """A YOLO, opened to be exported."""

    source: Source
    comparing: Judge

    @property
    def card(self) -> ModelCard:
        """Return what is known of it."""
        return self.comparing.card

    @property
    def samples(self) -> Samples:
        """Return what it is compared on."""
        return self.comparing.samples

    def convert(self, wanted: Wanted, part: Path) -> Written:
        """Write an export into an empty folder."""
        return wanted.format.load()(replace(self.source, precision=wanted.precision), part)

    def judge(self, artefact: Artefact, folder: Path) -> tuple[Parity | None, dict[str, Any]]:
        """Return the verdict; see `Judge.judge`."""
        return self.comparing.judge(artefact, folder)

    def told(self, artefact: Artefact) -> dict[str, Any]:
        """Return what a report says of calibration and thresholds."""
        calibration, nms = self.source.calibration, self.source.nms
        return {
            "num_calibration": len(calibration) if artefact.precision == "int8" else 0,
            "max_map_loss": self.comparing.max_map_loss,
            "nms": nms.model_dump(exclude={"precision"}) if artefact.suppressed else None,
        }


def open_subject(
    card: ModelCard, wanted: Sequence[Wanted], options: ExportOptions, scratch: Path
) -> YoloSubject:
    """Return a card's network, its weights checked and loaded, and what it is compared on."""
    source = replace(open_source(card, scratch), nms=options.nms)
    source = replace(source, calibration=calibrated_on(source, wanted, options))
    samples = compared_on(source, options)
    check_labels(samples, wanted, options)
    return YoloSubject(source, Judge(card, source, samples, options.max_map_loss))


def compared_on(source: Source, options: ExportOptions) -> pictures.Samples:
    """Return the pictures that exports are held against the weights on."""
    if options.pictures is not None:
        return pictures.given(
            options.pictures,
            source.view,
            source.contract,
            options.num_views,
            images=options.images,
        )
    counts = options.num_views, options.num_labelled
    return pictures.scenes(source, counts, VIEWS_SEED)


def calibrated_on(
    source: Source, wanted: Sequence[Wanted], options: ExportOptions
) -> Sequence[Image]:
    """Return the views for int8, where it is wanted."""
    if all(one.precision != "int8" for one in wanted):
        return ()
    uri = options.calibration or options.pictures
    if uri is not None:
        if uri == options.pictures and uri.endswith(".json"):
            log.warning("int8 takes its ranges from the pictures that judge it: --calibration")
        return pictures.given(
            uri,
            source.view,
            source.contract,
            options.num_calibration,
            split="train",
            images=options.calibration_images or options.images,
        ).views
    log.warning("int8 takes its ranges from generated scenes: --calibration names your pictures")
    return pictures.scenes(source, (options.num_calibration, 0), CALIBRATION_SEED).views
