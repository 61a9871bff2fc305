"""How good a model is: its detections, classes, captions, answers and search, with intervals.

from lakesight.metrics import Bootstrap, DetectionEvaluator, load_coco, load_coco_results

truth = load_coco("instances.json")
evaluator = DetectionEvaluator(truth.labels)
evaluator.update(truth.truths, load_coco_results("found.json", truth))
print(evaluator.result(Bootstrap()).table())
"""

from lakesight.metrics.bootstrap import Bootstrap, Interval, Intervals
from lakesight.metrics.classes import ClassEvaluator, ClassificationResult
from lakesight.metrics.coco import CocoTruth, load_coco, load_coco_results
from lakesight.metrics.confusion import Confusion
from lakesight.metrics.curves import Curves
from lakesight.metrics.evaluator import DetectionEvaluator
from lakesight.metrics.language import (
    AnswerEvaluator,
    CaptionEvaluator,
    DocumentFrequency,
    LanguageResult,
    RetrievalEvaluator,
    document_frequency,
)
from lakesight.metrics.multilabel import MultiLabelEvaluator, MultiLabelResult
from lakesight.metrics.objects import Predictions, Task, Truth
from lakesight.metrics.result import DetectionResult
from lakesight.metrics.rules import COCO_SIGMAS
from lakesight.metrics.tables import predictions_from_table, truths_from_table

__all__ = [
    "COCO_SIGMAS",
    "AnswerEvaluator",
    "Bootstrap",
    "CaptionEvaluator",
    "ClassEvaluator",
    "ClassificationResult",
    "CocoTruth",
    "Confusion",
    "Curves",
    "DetectionEvaluator",
    "DetectionResult",
    "DocumentFrequency",
    "Interval",
    "Intervals",
    "LanguageResult",
    "MultiLabelEvaluator",
    "MultiLabelResult",
    "Predictions",
    "RetrievalEvaluator",
    "Task",
    "Truth",
    "document_frequency",
    "load_coco",
    "load_coco_results",
    "predictions_from_table",
    "truths_from_table",
]
