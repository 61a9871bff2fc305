"""How good a model is on labelled pictures: what it finds on them, and what it says of them.

Every picture goes the way that `annotate` takes it: bytes, view, network, column. What a committed
output holds is judged by the same rules.
"""

from lakesight.evaluation.objects import SHAPES
from lakesight.evaluation.pairing import evaluate_output, field_of
from lakesight.evaluation.result import Evaluation, Result
from lakesight.evaluation.running import (
    OPTIONS,
    Judged,
    data_for,
    evaluate,
    open_judged,
    to_judge,
)
from lakesight.evaluation.tasks import TASKS, judge_of, judging_of, open_labels, task_of
from lakesight.evaluation.texts import Texts
from lakesight.evaluation.truth import truth_of

__all__ = [
    "OPTIONS",
    "SHAPES",
    "TASKS",
    "Evaluation",
    "Judged",
    "Result",
    "Texts",
    "data_for",
    "evaluate",
    "evaluate_output",
    "field_of",
    "judge_of",
    "judging_of",
    "open_judged",
    "open_labels",
    "task_of",
    "to_judge",
    "truth_of",
]
