"""The files that a training and an evaluation leave: one PNG for each question that one has."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from lakesight.evaluation import Result
from lakesight.metrics import ClassificationResult, DetectionResult
from lakesight.models.look import Looking
from lakesight.plots.evaluation import confusion_matrix, over_confidence, precision_recall
from lakesight.plots.labels import label_statistics
from lakesight.plots.pictures import beside, first_batches, found_on
from lakesight.plots.style import save
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.settings import TrainSettings

log = logging.getLogger(__name__)

LABELS = "labels.png"


@contextmanager
def spared(what: str) -> Iterator[None]:
    """Make a warning of what fails in drawing: a plot costs neither a training nor a model."""
    try:
        yield
    except Exception as error:
        log.warning("cannot draw %s: %s", what, error)


def draw_data(
    dataset: Pictures, settings: TrainSettings, folder: Path, *, multi_label: bool = False
) -> list[Path]:
    """Write `batch_1.png` … and `labels.png`, what a training is about to see; return the paths.

    The latter is written last: where it is, all are.
    """
    batches = first_batches(dataset, dataset.task, settings, multi_label=multi_label)
    return [
        *(save(each, folder / f"batch_{number}.png") for number, each in enumerate(batches, 1)),
        save(label_statistics(dataset), folder / LABELS),
    ]


def draw_evaluation(results: Mapping[str, Result], folder: Path) -> list[Path]:
    """Write the plots of each result, by what was compared (`box`, `mask` …); return the paths.

    `{name}_precision_recall.png`, `{name}_confidence.png`, `{name}_confusion.png` and
    `{name}_confusion_normalised.png`; of classes the last two, of several classes a picture and of
    words none.
    """
    figures: dict[str, Figure] = {}
    for name, result in results.items():
        if isinstance(result, DetectionResult):
            figures[f"{name}_precision_recall"] = precision_recall(result)
            figures[f"{name}_confidence"] = over_confidence(result)
        if isinstance(result, DetectionResult | ClassificationResult):
            figures[f"{name}_confusion"] = confusion_matrix(result.confusion)
            figures[f"{name}_confusion_normalised"] = confusion_matrix(
                result.confusion, normalised=True
            )
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def draw_samples(model: Looking, dataset: Pictures, folder: Path) -> list[Path]:
    """Write `samples.png`: some pictures, with their truth and what a model finds."""
    return [save(beside(found_on(model, dataset), dataset.labels), folder / "samples.png")]
