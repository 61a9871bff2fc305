"""How good a model is on labelled pictures: what it finds on them, and what it says of them.

Every picture goes the way that `annotate` takes it: bytes, view, network, column. What a committed
output holds is judged by the same rules.
"""

from lakesight.evaluation.judging import judge_of, task_of
from lakesight.evaluation.objects import SHAPES
from lakesight.evaluation.pairing import evaluate_output, field_of
from lakesight.evaluation.result import Evaluation, Result
from lakesight.evaluation.running import OPTIONS, data_for, evaluate, to_judge
from lakesight.evaluation.texts import AnyTask, Texts, open_labels
from lakesight.evaluation.truth import truth_of

__all__ = [
    "OPTIONS",
    "SHAPES",
    "AnyTask",
    "Evaluation",
    "Result",
    "Texts",
    "data_for",
    "evaluate",
    "evaluate_output",
    "field_of",
    "judge_of",
    "open_labels",
    "task_of",
    "to_judge",
    "truth_of",
]
