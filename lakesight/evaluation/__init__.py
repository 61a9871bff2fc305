"""How good a model is on labelled pictures: the same for a model folder and one in training.

Every picture goes the way that `annotate` takes it: bytes, view, network, column. What a committed
output holds is judged by the same rules.
"""

from lakesight.evaluation.judging import judge_of, task_of
from lakesight.evaluation.objects import SHAPES
from lakesight.evaluation.pairing import evaluate_output, field_of
from lakesight.evaluation.result import Evaluation, Result
from lakesight.evaluation.running import OPTIONS, data_for, evaluate, to_judge
from lakesight.evaluation.truth import truth_of

__all__ = [
    "OPTIONS",
    "SHAPES",
    "Evaluation",
    "Result",
    "data_for",
    "evaluate",
    "evaluate_output",
    "field_of",
    "judge_of",
    "task_of",
    "to_judge",
    "truth_of",
]
