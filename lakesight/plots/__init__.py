"""Pictures of a training and of an evaluation, as matplotlib figures that nothing global knows.

from lakesight.plots import curves, save

save(curves(progress.history), Path("curves.png"))
"""

from lakesight.plots.evaluation import confusion_matrix, over_confidence, precision_recall
from lakesight.plots.files import LABELS, draw_data, draw_evaluation, draw_samples, spared
from lakesight.plots.history import curves
from lakesight.plots.labels import label_statistics
from lakesight.plots.pictures import Shown, beside, first_batches, found_on
from lakesight.plots.style import save

__all__ = [
    "LABELS",
    "Shown",
    "beside",
    "confusion_matrix",
    "curves",
    "draw_data",
    "draw_evaluation",
    "draw_samples",
    "first_batches",
    "found_on",
    "label_statistics",
    "over_confidence",
    "precision_recall",
    "save",
    "spared",
]
